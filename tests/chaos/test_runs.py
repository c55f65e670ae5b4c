from pathlib import Path

import pytest
import torch

from tests.chaos import runs


@pytest.mark.slow
def test_a_run_killed_twice_and_continued_is_the_uninterrupted_one(tmp_path: Path) -> None:
    """A short form of `python -m tests.chaos`: equal whenever the kills come."""
    span = runs.finish(tmp_path / "whole")
    for share in (0.5, 0.6):
        runs.kill(tmp_path / "cut", share * span)
    runs.finish(tmp_path / "cut")
    assert runs.differences(tmp_path / "whole", tmp_path / "cut") == []


def test_what_differs_is_named(tmp_path: Path) -> None:
    for name, text in (("a", "epoch\n0\n"), ("b", "epoch\n1\n")):
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        for file in ("metrics.csv", "scores.csv", "status"):
            (folder / file).write_text(text if file == "metrics.csv" else "")
        for file in ("best.ckpt", "last.ckpt"):
            torch.save({"epoch": len(text), "seed": name}, folder / "checkpoints" / file)
    found = runs.differences(tmp_path / "a", tmp_path / "b")
    assert found[:3] == ["metrics.csv", "best.ckpt/seed", "last.ckpt/seed"]
    assert "fields" in found[3], "there are none"
