import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from deepsal.training import progress
from deepsal.training.progress import EpochLines, LazyRichProgressBar, progress_bar
from tests.conftest import datamodule, task
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


def test_a_long_step_prints_a_line_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = count(0.0, 12.0)
    monkeypatch.setattr("deepsal.training.progress.time.monotonic", lambda: next(clock))
    assert list(progress.lines_of_progress("abcdef", "export", 6)) == list("abcdef")
    assert capsys.readouterr().out == "export 2/6 images  36 s\nexport 5/6 images  72 s\n"


@pytest.mark.parametrize("silent", [False, True])
def test_a_test_prints_lines_off_a_terminal(
    silent: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    lines = EpochLines()
    if silent:
        monkeypatch.setattr(lines, "enable", lines.disable)
        lines.disable()
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[lines]
    )
    trainer.test(task(), datamodule((8, 3, 3)), verbose=False)
    starts = [line.split(" images")[0] for line in capsys.readouterr().out.splitlines()]
    assert starts == ([] if silent else ["test 0/3", "test 1/3", "test 2/3"])
