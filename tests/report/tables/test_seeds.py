import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from deepsal.report.tables.formats import markdown_table
from deepsal.report.tables.seeds import compare_over_seeds
from tests.report.support import write_seed_run


def test_runs_of_one_method_are_one_row_with_an_interval_over_seeds(tmp_path: Path) -> None:
    folders = [write_seed_run(tmp_path, "kl", 0.1 * s, s) for s in range(3)]
    folders += [write_seed_run(tmp_path, "sam", 1.0, 7), write_seed_run(tmp_path, "sam", 1.2, 8)]
    comparison = compare_over_seeds(folders)
    assert comparison.runs == ["kl (3 seeds)", "sam (2 seeds)"]
    row = comparison.means["kl (3 seeds)"]["nss"]
    means = [json.loads((f / "scores.json").read_text()) for f in folders[:3]]
    values = [m["scores"]["run"]["nss"]["mean"] for m in means]
    low, high = t.interval(0.95, 2, np.mean(values), np.std(values, ddof=1) / np.sqrt(3))
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((np.mean(values), low, high))
    assert comparison.best == {"nss": "sam (2 seeds)", "kl": "sam (2 seeds)"}
    assert comparison.p_values["nss"]["kl (3 seeds)", "sam (2 seeds)"] < 1e-6
    assert "centre" in comparison.means
    assert "t interval over seeds" in comparison.header


def test_one_seed_has_a_mean_and_no_interval(tmp_path: Path) -> None:
    comparison = compare_over_seeds(
        [write_seed_run(tmp_path, "kl", 0.0, 1), write_seed_run(tmp_path, "sam", 0.5, 2)]
    )
    assert comparison.runs == ["kl (1 seed)", "sam (1 seed)"]
    text = markdown_table(comparison)
    assert "nan" not in text
    assert f"{comparison.means['kl (1 seed)']['nss']['mean']:.3f} |" in text


@pytest.mark.parametrize("names", [("kl", "sam"), ("a", "l"), ("runs/kl", "runs/sam")])
def test_a_folder_named_like_an_option_merges_no_methods(
    names: tuple[str, str], tmp_path: Path
) -> None:
    folders = []
    for loss, seed, name in zip(("kl", "sam"), (0, 1), names, strict=True):
        run = write_seed_run(tmp_path, loss, 0.1, seed)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        config = json.loads((run / "config.yaml").read_text())
        config["output_dir"] = str(tmp_path / name)
        (run / "config.yaml").write_text(json.dumps(config))
        folders.append(run.rename(tmp_path / name))
    assert len(compare_over_seeds(folders).runs) == 2


def test_one_run_twice_is_no_second_seed(tmp_path: Path) -> None:
    folders = [write_seed_run(tmp_path, "kl", 0.1, seed) for seed in (0, 1, 0)]
    with pytest.raises(ValueError, match=r"0-kl-s0 and 2-kl-s0 are equal runs with the seed 0"):
        compare_over_seeds(folders)
