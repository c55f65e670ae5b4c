"""A finished run is scored again; a failed one is resumed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir

import run
from deepsal.training.task import SaliencyTask
from tests.support import ROOT, SMALL, launch, plain, resume, write_config

OPTIONS = [*SMALL, "logger=csv", "rf=none", "trainer.max_epochs=2"]


@pytest.fixture(autouse=True)
def hydra_from_here() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that run.py trained and tested in a process of its own."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    launch(folder, *OPTIONS)
    return folder


@pytest.mark.filterwarnings("ignore:The dirpath has changed from")
def test_a_finished_run_can_be_scored_again_and_gives_the_same_scores(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt = f"ckpt={str(finished_run / 'checkpoints' / 'best.ckpt')!r}"
    config = write_config(tmp_path, *OPTIONS, "do=[test]", "seed=7", ckpt)
    run.run_in_folder(plain(config), tmp_path)
    assert (finished_run / "scores.csv").read_text() == (tmp_path / "scores.csv").read_text()
    assert "\n run " in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*multiple `ModelCheckpoint` callbacks")
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_failed_run_that_is_resumed_ends_as_the_one_that_did_not_fail(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(task: SaliencyTask) -> None:
        if task.current_epoch == 1:
            raise RuntimeError("on purpose")

    config = write_config(tmp_path, *OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(SaliencyTask, "on_train_epoch_start", fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            run.run_in_folder(plain(config), tmp_path)
    assert (tmp_path / "status").read_text() == "failed: RuntimeError: on purpose\n"
    assert resume(tmp_path) == 0
    for name in ("metrics.csv", "scores.csv", "status"):
        assert (tmp_path / name).read_bytes() == (finished_run / name).read_bytes(), name
    first, second = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (finished_run, tmp_path)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
