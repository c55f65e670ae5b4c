from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from deepsal.callbacks import Last, best
from tests.callbacks.test_watch import fit


def test_kl_is_minimised_and_nss_maximised(tmp_path: Path) -> None:
    assert (best(tmp_path, "val/kl").mode, best(tmp_path, "val/nss").mode) == ("min", "max")


def test_an_unknown_metric_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"val/bleu.*val/nss"):
        best(tmp_path, "val/bleu")


class Interrupt(pl.Callback):
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def on_train_batch_end(self, trainer: pl.Trainer, *_args: object) -> None:
        if trainer.global_step == 3:
            raise self.error("on purpose")


def test_ctrl_c_keeps_the_batch_at_which_it_came(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, [Last(tmp_path), Interrupt(KeyboardInterrupt)])
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3


def test_an_error_does_not_overwrite_the_last_good_epoch(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError):
        fit(tmp_path, [Last(tmp_path), Interrupt(FloatingPointError)])
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
