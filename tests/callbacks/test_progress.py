import sys
from pathlib import Path

import pytest
from pytorch_lightning.callbacks import RichProgressBar

from deepsal.callbacks.progress import EpochLines, progress
from tests.callbacks.test_watch import fit


def test_bars_on_a_terminal_lines_off_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress(), EpochLines)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert isinstance(progress(), RichProgressBar)


def test_one_line_per_epoch_with_scores_and_throughput(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, [EpochLines()], epochs=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert all("val/nss" in line and line.endswith("images/s") for line in lines)
