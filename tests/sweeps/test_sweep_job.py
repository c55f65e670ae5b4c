from pathlib import Path

import pytest

from deepsal.runs import folder as run_folder
from deepsal.sweeps import sweep_job


def with_config(folder: Path, config: str = "seed: 0\n") -> Path:
    (folder / "config.yaml").write_text(config)
    return folder


def nothing() -> None: ...


def test_a_job_in_a_folder_of_another_configuration_does_not_touch_it(tmp_path: Path) -> None:
    with_config(tmp_path, "seed: 1\n")
    job = sweep_job.run_if_not_done(tmp_path, "seed: 0\n", nothing, lambda: pytest.fail("it ran"))
    assert "another configuration" in job.reason
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_a_done_job_is_not_prepared_again(tmp_path: Path) -> None:
    run_folder.mark_done(with_config(tmp_path), 0.5)
    job = sweep_job.run_if_not_done(
        tmp_path, "seed: 0\n", lambda: pytest.fail("prepared"), lambda: 1
    )
    assert (job.status, job.score) == ("skipped", 0.5)


def test_a_folder_that_cannot_be_made_ready_is_a_failed_job(tmp_path: Path) -> None:
    def prepare() -> None:
        raise PermissionError("cannot be written to")

    job = sweep_job.run_if_not_done(tmp_path, "seed: 0\n", prepare, lambda: 0)
    assert job.reason == "PermissionError: cannot be written to"


def test_another_rank_waits_for_the_first_ones_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    job = sweep_job.run_if_not_done(
        tmp_path, "seed: 0\n", lambda: pytest.fail("it wrote"), lambda: 0, 0.1
    )
    assert "has not written" in job.reason
