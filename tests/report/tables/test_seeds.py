import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from deepsal.report.tables.formats import markdown_table
from deepsal.report.tables.seeds import compare_over_seeds
from tests.report.tables.test_runs import run


def seeded(folder: Path, loss: str, gain: float, seed: int) -> Path:
    made = run(folder / f"{len(list(folder.iterdir()))}-{loss}-s{seed}", gain, seed)
    config = {
        "name": f"{loss}-s{seed}",
        "names": {"saliency": f"{loss}-s{seed}"},
        "seed": seed,
        "loss": {"name": loss},
        "output_dir": str(made),
    }
    (made / "config.yaml").write_text(json.dumps(config))
    return made


def test_runs_of_one_method_are_one_row_with_an_interval_over_seeds(tmp_path: Path) -> None:
    folders = [seeded(tmp_path, "kl", 0.1 * s, s) for s in range(3)]
    folders += [seeded(tmp_path, "sam", 1.0, 7), seeded(tmp_path, "sam", 1.2, 8)]
    found = compare_over_seeds(folders)
    assert found.runs == ["kl (3 seeds)", "sam (2 seeds)"]
    row = found.means["kl (3 seeds)"]["nss"]
    means = [json.loads((f / "scores.json").read_text()) for f in folders[:3]]
    values = [m["scores"]["run"]["nss"]["mean"] for m in means]
    low, high = t.interval(0.95, 2, np.mean(values), np.std(values, ddof=1) / np.sqrt(3))
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((np.mean(values), low, high))
    assert found.best == {"nss": "sam (2 seeds)", "kl": "sam (2 seeds)"}
    assert found.p["nss"]["kl (3 seeds)", "sam (2 seeds)"] < 1e-6
    assert "centre" in found.means
    assert "t interval over seeds" in found.header


def test_one_seed_has_a_mean_and_no_interval(tmp_path: Path) -> None:
    found = compare_over_seeds([seeded(tmp_path, "kl", 0.0, 1), seeded(tmp_path, "sam", 0.5, 2)])
    assert found.runs == ["kl (1 seed)", "sam (1 seed)"]
    text = markdown_table(found)
    assert "nan" not in text
    assert f"{found.means['kl (1 seed)']['nss']['mean']:.3f} |" in text
