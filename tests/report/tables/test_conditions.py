from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepsal.report.run_folders import RunSummary
from deepsal.report.tables.conditions import SeedRuns, condition_table, read_conditions
from tests.report.support import write_finished_job


def loss_of(options: Mapping[str, Any]) -> str | None:
    name: str = options["loss.name"]
    return None if name == "left_out" else name


def test_scores_are_read_by_condition_and_seed_of_the_same_images(tmp_path: Path) -> None:
    write_finished_job(tmp_path / "kl-s1", "kl", 1, {"b": 4, "a": 3})
    write_finished_job(tmp_path / "kl-s0", "kl", 0, {"a": 1, "b": 2})
    write_finished_job(tmp_path / "other-s0", "left_out", 0, {"a": 9, "b": 9})
    conditions = read_conditions(tmp_path, loss_of, ["nss"])
    assert [*conditions] == ["kl"]
    assert conditions["kl"].scores["nss"].tolist() == [[1, 2], [3, 4]]
    assert [run.options["seed"] for run in conditions["kl"].runs] == [0, 1]
    assert conditions["kl"].runs[1].fields["correlation"]["conv4"] == pytest.approx(0.6)


def test_missing_and_doubled_jobs_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished job; run the study first"):
        read_conditions(tmp_path, loss_of, ["nss"])
    write_finished_job(tmp_path / "kl-s0", "kl", 0, {"a": 1})
    write_finished_job(tmp_path / "kl-s1", "kl", 1, {"a": 1})
    write_finished_job(tmp_path / "cc-s0", "cc", 0, {"a": 1})
    with pytest.raises(FileNotFoundError, match="no finished job of cc, seed 1"):
        read_conditions(tmp_path, loss_of, ["nss"])
    write_finished_job(tmp_path / "cc-again", "cc", 0, {"a": 1})
    with pytest.raises(ValueError, match="both cc, seed 0"):
        read_conditions(tmp_path, loss_of, ["nss"])


def seed_runs(gain: float, seed: int = 0, images: int = 40) -> SeedRuns:
    """Three seeds that score better than the reference by `gain`, with noise of each image."""
    random = np.random.default_rng(seed)
    common = np.random.default_rng(9).normal(2, 0.5, images)
    scores = common + gain + random.normal(0, 0.1, (3, images))
    fields = {"correlation": {"conv4": 0.9}}
    runs = [RunSummary(f"s{s}", None, "done", None, {}, {}, fields) for s in range(3)]
    return SeedRuns({"nss": scores}, runs)


def test_a_planted_gain_is_found_and_none_is_not() -> None:
    conditions = {"kl": seed_runs(0), "equal": seed_runs(0, 1), "better": seed_runs(0.3, 2)}
    table = condition_table(conditions, "kl")
    reference, equal, better = table[table["measure"] == "nss"].to_dict("records")
    assert better["difference"] == pytest.approx(0.3, abs=0.05)
    assert better["difference_low"] > 0.2
    assert better["p"] < 0.01 < 0.05 < equal["p"]
    assert np.isnan(reference["difference"])
    fields = table[table["measure"] == "correlation/conv4"]
    assert fields["mean"].tolist() == [0.9] * 3
    assert fields["difference"].isna().all()


def test_a_reference_without_runs_is_an_error_that_lists_the_conditions() -> None:
    with pytest.raises(ValueError, match=r"no run is of the condition 'sam'.*\['kl'\]"):
        condition_table({"kl": seed_runs(0)}, "sam")
