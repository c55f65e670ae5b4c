import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from deepsal.report import compare, scores
from deepsal.report.compare import Comparison
from deepsal.rf.inference import holm


def run(
    folder: Path, gain: float, seed: int, protocol: str = "tuebingen", images: int = 40
) -> Path:
    folder.mkdir(parents=True)
    shared, own = np.random.default_rng(0), np.random.default_rng(seed)
    rows = [
        {
            "name": f"{i}.jpg",
            "nss": shared.normal(2, 1) + gain + own.normal(0, 0.1),
            "kl": shared.normal(1, 0.2) - gain + own.normal(0, 0.1),
            "centre_nss": 1.0,
            "centre_kl": 2.0,
        }
        for i in range(images)
    ]
    own.shuffle(rows)  # images are matched by name, not by place
    scores.write(folder, rows, "OSIE 2014", protocol)
    return folder


def three(folder: Path) -> list[Path]:
    return [run(folder / n, g, s) for n, g, s in (("a", 0.0, 1), ("b_2", 0.5, 2), ("c", 0.5, 3))]


def found(folder: Path) -> Comparison:
    return compare.compare(three(folder))


def test_pairs_of_runs_are_tested_image_by_image(tmp_path: Path) -> None:
    result = found(tmp_path)
    assert set(result.best.values()) <= {"b_2", "c"}
    tables = [pd.read_csv(tmp_path / n / "scores.csv").set_index("name") for n in ("a", "b_2", "c")]
    columns = [table.loc[tables[0].index, "nss"] for table in tables]
    raw = [wilcoxon(columns[i] - columns[j]).pvalue for i, j in ((0, 1), (0, 2), (1, 2))]
    assert list(result.p["nss"].values()) == pytest.approx(holm(np.array(raw)).tolist())
    assert result.p["nss"]["a", "b_2"] < 1e-6
    assert result.p["nss"]["b_2", "c"] > 0.05


def test_markdown_has_intervals_the_best_in_bold_and_how_it_was_scored(tmp_path: Path) -> None:
    result = found(tmp_path)
    text = compare.markdown(result)
    assert text.startswith("OSIE 2014, 40 test images at their own size; protocol tuebingen")
    lines = {
        line.split("|")[1].strip(): line
        for line in text.splitlines()
        if " ± 0" in line and "|" in line
    }
    low, high = (result.means["c"]["nss"][key] for key in ("low", "high"))
    assert f"{result.means['c']['nss']['mean']:.3f} ± {(high - low) / 2:.3f}" in lines["c"]
    assert lines["a"].count("**") == 0
    assert lines["b_2"].count("**") + lines["c"].count("**") >= 6
    assert "1.000 ± 0.000" in lines["centre"]
    assert "KL ↓" in text
    assert "| a – c |" in text


def test_csv_and_latex_say_the_same(tmp_path: Path) -> None:
    result = found(tmp_path)
    compare.save(result, tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv", comment="#").set_index(["run", "score"])
    assert table.loc[("c", "nss"), "mean"] == pytest.approx(result.means["c"]["nss"]["mean"])
    assert table["best"].sum() == 2
    compare.save(result, tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert r"b\_2 & " in text
    assert text.count(r"\\") == 5  # a head, three runs, the centre
    assert r"\textbf{" in text
    assert not list(tmp_path.glob(".*"))


def test_a_single_run_needs_no_test(tmp_path: Path) -> None:
    text = compare.markdown(compare.compare([run(tmp_path / "a", 0.0, 1)]))
    assert "Wilcoxon" not in text


def test_runs_must_be_scored_alike(tmp_path: Path) -> None:
    first = run(tmp_path / "a", 0.0, 1)
    with pytest.raises(ValueError, match=r"a has protocol tuebingen, b has mit"):
        compare.compare([first, run(tmp_path / "b", 0.0, 1, "mit")])
    with pytest.raises(ValueError, match=r"images 40.* 30"):
        compare.compare([first, run(tmp_path / "c", 0.0, 1, images=30)])
    with pytest.raises(FileNotFoundError, match=r"nothing has no scores\.json"):
        compare.compare([first, tmp_path / "nothing"])
    with pytest.raises(ValueError, match="twice"):
        compare.compare([first, first])
    with pytest.raises(ValueError, match=r"\.md, \.csv, \.tex"):
        compare.save(compare.compare([first]), tmp_path / "t.doc")


def test_equal_runs_and_images_without_a_score(tmp_path: Path) -> None:
    folders = [run(tmp_path / name, 0.1, 1) for name in ("a", "b")]
    table = pd.read_csv(folders[1] / "scores.csv")
    table.loc[0, "nss"] = np.nan
    table.to_csv(folders[1] / "scores.csv", index=False)
    result = compare.compare(folders)
    assert np.isnan(result.p["nss"]["a", "b"])
    assert compare.markdown(result).count("**") == 8


def test_folders_of_one_name_are_told_apart_and_old_runs_can_be_read(tmp_path: Path) -> None:
    folders = [run(tmp_path / day / "x", 0.1, i) for i, day in enumerate(("mon", "tue"))]
    for folder in folders:
        about = json.loads((folder / "scores.json").read_text())
        del about["protocol"], about["maps"], about["ig_over"]
        (folder / "scores.json").write_text(json.dumps(about))
    assert compare.compare(folders).runs == ["mon/x", "tue/x"]
