from pathlib import Path

import pytest

from deepsal.runs import folder as state
from deepsal.runs.folder import JobOutcome


def made(folder: Path, config: str = "seed: 0\n") -> Path:
    (folder / "config.yaml").write_text(config)
    return folder


def test_a_job_is_finished_only_with_the_configuration_it_ran_with(tmp_path: Path) -> None:
    state.mark_done(made(tmp_path), 0.5)
    assert state.outcome_if_done(tmp_path, "seed: 0\n", "a") == JobOutcome(
        "a", "skipped", 0.5, "done before"
    )
    assert state.outcome_if_done(tmp_path, "seed: 1\n") is None


def test_a_training_that_starts_again_leaves_the_tables(tmp_path: Path) -> None:
    for name in state.TRAINING_OUTPUTS[:-1]:
        (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / "scores.csv").touch()
    state.remove_training_outputs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_a_training_does_not_mix_with_another(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    state.refuse_used_folder(tmp_path, ["fit", "test"])  # nothing came of it
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    state.refuse_used_folder(tmp_path, ["test"])
    with pytest.raises(FileExistsError, match=r"holds a training \(checkpoints\); resume=.*other"):
        state.refuse_used_folder(tmp_path, ["fit", "test"])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_marker_that_is_not_one_is_no_marker(text: str, tmp_path: Path) -> None:
    (made(tmp_path) / "done").write_text(text)
    assert state.outcome_if_done(tmp_path, "seed: 0\n") is None


@pytest.mark.parametrize(
    ("code", "reason"), [(-9, "killed by SIGKILL"), (3, "exit code 3"), (0, "exit code 0")]
)
def test_a_process_that_said_nothing_is_spoken_for(code: int, reason: str, tmp_path: Path) -> None:
    (made(tmp_path) / "status").write_text("running\n")
    assert state.outcome_of_exit(tmp_path, "seed: 0\n", code, "a") == JobOutcome(
        "a", "failed", reason=reason
    )
    assert (tmp_path / "status").read_text() == f"failed: {reason}\n"


def test_a_process_that_said_how_it_ended_is_believed(tmp_path: Path) -> None:
    (made(tmp_path) / "status").write_text("failed: ValueError: metric=val/bleu\n")
    assert (
        state.outcome_of_exit(tmp_path, "seed: 0\n", 1, "a").reason == "ValueError: metric=val/bleu"
    )
    state.mark_done(tmp_path, 0.25)
    assert state.outcome_of_exit(tmp_path, "seed: 0\n", 0, "a") == JobOutcome("a", "done", 0.25)


def test_only_the_first_rank_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    state.write_status(tmp_path, "running")
    assert not (tmp_path / "status").exists()


def nothing() -> None: ...


def test_a_job_in_a_folder_of_another_configuration_does_not_touch_it(tmp_path: Path) -> None:
    made(tmp_path, "seed: 1\n")
    job = state.run_job(tmp_path, "seed: 0\n", nothing, lambda: pytest.fail("it ran"))
    assert "another configuration" in job.reason
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_a_done_job_is_not_prepared_again(tmp_path: Path) -> None:
    state.mark_done(made(tmp_path), 0.5)
    job = state.run_job(tmp_path, "seed: 0\n", lambda: pytest.fail("prepared"), lambda: 1)
    assert (job.how, job.score) == ("skipped", 0.5)


def test_a_folder_that_cannot_be_made_ready_is_a_failed_job(tmp_path: Path) -> None:
    def prepare() -> None:
        raise PermissionError("cannot be written to")

    job = state.run_job(tmp_path, "seed: 0\n", prepare, lambda: 0)
    assert job.reason == "PermissionError: cannot be written to"


def test_another_rank_waits_for_the_first_ones_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    job = state.run_job(tmp_path, "seed: 0\n", lambda: pytest.fail("it wrote"), lambda: 0, 0.1)
    assert "has not written" in job.reason
