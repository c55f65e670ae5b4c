import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from deepsal.training.progress import EpochLines, LazyRichProgressBar, progress_bar
from tests.training.support import fit_with


def test_bars_on_a_terminal_lines_off_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress_bar(), EpochLines)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert isinstance(progress_bar(), RichProgressBar)


def test_bars_read_the_loss_as_often_as_it_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read = RichProgressBar.get_metrics

    def counted(bars: RichProgressBar, trainer: pl.Trainer, module: pl.LightningModule) -> Any:
        reads.append(trainer.global_step)
        return read(bars, trainer, module)

    monkeypatch.setattr(RichProgressBar, "get_metrics", counted)
    fit_with(tmp_path, [LazyRichProgressBar()], epochs=3)  # two steps an epoch, logged every 50
    assert not {1, 3, 5} & {*reads}, "the first step of each epoch is not read"
    assert 6 in reads, "the end of an epoch is"


def test_one_line_per_epoch_with_scores_and_throughput(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_with(tmp_path, [EpochLines()], epochs=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert all("val/nss" in line and line.endswith("images/s") for line in lines)
