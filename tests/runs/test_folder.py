import json
import shutil
from collections import namedtuple
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from deepsal.runs import folder as run_folder
from deepsal.runs.folder import JobOutcome
from deepsal.runs.heartbeat import hold_folder
from deepsal.runs.paths import as_text
from deepsal.training.preemption import RunPreempted


def with_config(folder: Path, config: str = "seed: 0\n") -> Path:
    (folder / "config.yaml").write_text(config)
    return folder


def test_a_job_is_finished_only_with_the_configuration_it_ran_with(tmp_path: Path) -> None:
    run_folder.mark_done(with_config(tmp_path), 0.5)
    assert run_folder.outcome_if_done(tmp_path, "seed: 0\n", "a") == JobOutcome(
        "a", "skipped", 0.5, "done before", "test/nss"
    )
    assert run_folder.outcome_if_done(tmp_path, "seed: 1\n") is None


def test_a_job_that_was_moved_is_finished_and_one_of_other_options_is_not(tmp_path: Path) -> None:
    def config(folder: Path, data_dir: str, cache_dir: str, seed: int = 0) -> str:
        data = {"dataset": {"data_dir": f"{data_dir}/osie"}, "cache_dir": cache_dir}
        places = {"output_dir": str(folder), "data_dir": data_dir, "data": data}
        return as_text({**places, "rf": {"folder": str(folder)}, "seed": seed})

    text = config(tmp_path / "cluster", "/scratch/data", "/scratch/cache")
    run_folder.mark_done(with_config(tmp_path, text), 0.5)
    assert run_folder.outcome_if_done(tmp_path, config(tmp_path / "home", "/data", "~/cache"))
    assert not run_folder.outcome_if_done(tmp_path, config(tmp_path, "/data", "~/cache", seed=1))


def test_the_score_of_a_job_has_the_name_of_its_metric(tmp_path: Path) -> None:
    config = "{do: [fit, test], metric: val/cc}"
    run_folder.mark_done(with_config(tmp_path, config), 0.5)
    outcome = run_folder.outcome_of_exit(tmp_path, config, 0, "a")
    assert (outcome.metric, outcome.score) == ("val/cc", 0.5)


def test_a_training_that_starts_again_leaves_the_tables(tmp_path: Path) -> None:
    for name in run_folder.TRAINING_OUTPUTS[:-1]:
        (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / "scores.csv").touch()
    run_folder.remove_training_outputs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_a_training_does_not_mix_with_another(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    run_folder.refuse_used_folder(tmp_path, ["fit", "test"])  # nothing came of it
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(FileExistsError, match="whose record would be replaced; set "):
        run_folder.refuse_used_folder(tmp_path, ["test"])
    with pytest.raises(FileExistsError, match=r"holds a training \(checkpoints\); resume=.*other"):
        run_folder.refuse_used_folder(tmp_path, ["fit", "test"])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_marker_that_is_not_one_is_no_marker(text: str, tmp_path: Path) -> None:
    (with_config(tmp_path) / "done").write_text(text)
    assert run_folder.outcome_if_done(tmp_path, "seed: 0\n") is None


@pytest.mark.parametrize(
    ("code", "reason"), [(-9, "killed by SIGKILL"), (3, "exit code 3"), (0, "exit code 0")]
)
def test_a_process_that_said_nothing_is_spoken_for(code: int, reason: str, tmp_path: Path) -> None:
    (with_config(tmp_path) / "status").write_text("running\n")
    assert run_folder.outcome_of_exit(tmp_path, "seed: 0\n", code, "a") == JobOutcome(
        "a", "failed", reason=reason
    )
    assert (tmp_path / "status").read_text() == f"failed: {reason}\n"


def test_a_process_that_said_how_it_ended_is_believed(tmp_path: Path) -> None:
    (with_config(tmp_path) / "status").write_text("failed: ValueError: metric=val/bleu\n")
    assert (
        run_folder.outcome_of_exit(tmp_path, "seed: 0\n", 1, "a").reason
        == "ValueError: metric=val/bleu"
    )
    run_folder.mark_done(tmp_path, 0.25)
    assert run_folder.outcome_of_exit(tmp_path, "seed: 0\n", 0, "a") == JobOutcome(
        "a", "done", 0.25, metric="test/nss"
    )


def test_only_the_first_rank_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    run_folder.write_status(tmp_path, "running")
    assert not (tmp_path / "status").exists()


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match=r"cannot be written to .* set hydra.run.dir"):
        run_folder.check_folder_writable(tmp_path / "file" / "run")


def test_a_full_disk_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage(1, 1, 5 << 20))
    with pytest.raises(OSError, match=r"only 5 MiB are free"):
        run_folder.check_folder_writable(tmp_path)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), "interrupted", "interrupted; to start the run again: resume="),
        (RunPreempted("left at step 7"), "preempted", "left at step 7; to start the run again"),
        (ValueError("seed=x"), "failed: ValueError: seed=x", ""),
        (None, "done", ""),
    ],
)
def test_the_status_says_how_the_work_ended(
    error: BaseException | None,
    status: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind: Any = SystemExit if isinstance(error, RunPreempted) else type(error)
    expected = pytest.raises(kind) if error else nullcontext()
    with expected, hold_folder(tmp_path), run_folder.recorded_status(tmp_path):
        assert run_folder.read_status(tmp_path) == "running"
        if error:
            raise error
    assert run_folder.read_status(tmp_path) == status
    assert capsys.readouterr().out.startswith(message)


def test_a_training_with_a_checkpoint_resumes_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(KeyboardInterrupt), run_folder.recorded_status(tmp_path):
        raise KeyboardInterrupt
    message = f"interrupted; to resume from the last checkpoint: resume={tmp_path}\n"
    assert capsys.readouterr().out == message


def test_a_signal_inside_a_save_that_then_fails_is_an_interruption(tmp_path: Path) -> None:
    def save() -> None:
        try:
            raise SystemExit(143)  # of the signal's handler
        finally:
            raise RuntimeError("inline_container.cc: unexpected pos")

    with pytest.raises(SystemExit, match="143"), hold_folder(tmp_path):  # noqa: SIM117
        with run_folder.recorded_status(tmp_path):
            save()
    assert run_folder.read_status(tmp_path) == "interrupted"


@pytest.mark.parametrize(("marked", "status"), [(False, "interrupted"), (True, "done")])
def test_a_run_whose_process_was_killed_is_not_running(
    marked: bool, status: str, tmp_path: Path
) -> None:
    (with_config(tmp_path) / "status").write_text("running\n")
    if marked:
        run_folder.mark_done(tmp_path, 0.5)
    with hold_folder(tmp_path):
        assert run_folder.read_status(tmp_path) == "running"
        killed = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-killed"))
    worker = json.loads((killed / "worker.json").read_text())
    worker |= {"inode": killed.stat().st_ino, "start": "earlier"}
    (killed / "worker.json").write_text(json.dumps(worker))
    assert run_folder.read_status(killed) == status
    (killed / "worker.json").unlink()
    assert run_folder.read_status(killed) == status, "a copy"


def test_a_run_that_begins_again_is_not_done(tmp_path: Path) -> None:
    run_folder.mark_done(with_config(tmp_path), 0.5)
    with run_folder.begun_run(tmp_path, {"do": ["test"], "trainer": {}}, lambda: None):
        pass
    assert run_folder.outcome_if_done(tmp_path, "seed: 0\n") is None
