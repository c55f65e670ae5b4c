import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from deepsal.report.tables import formats, runs
from deepsal.runs import score_files
from deepsal.statistics import holm_correction
from tests.report.support import write_tested_run, write_tested_runs


def test_pairs_of_runs_are_tested_image_by_image(tmp_path: Path) -> None:
    result = runs.compare_runs(write_tested_runs(tmp_path))
    assert set(result.best.values()) <= {"b_2", "c"}
    tables = [pd.read_csv(tmp_path / n / "scores.csv").set_index("name") for n in ("a", "b_2", "c")]
    columns = [table.loc[tables[0].index, "nss"] for table in tables]
    raw = [wilcoxon(columns[i] - columns[j]).pvalue for i, j in ((0, 1), (0, 2), (1, 2))]
    assert list(result.p_values["nss"].values()) == pytest.approx(
        holm_correction(np.array(raw)).tolist()
    )
    assert result.p_values["nss"]["a", "b_2"] < 1e-6
    assert result.p_values["nss"]["b_2", "c"] > 0.05


def test_runs_must_be_scored_alike(tmp_path: Path) -> None:
    first = write_tested_run(tmp_path / "a", 0.0, 1)
    with pytest.raises(ValueError, match=r"a has protocol tuebingen, b has mit"):
        runs.compare_runs([first, write_tested_run(tmp_path / "b", 0.0, 1, "mit")])
    with pytest.raises(ValueError, match=r"images 40.* 30"):
        runs.compare_runs([first, write_tested_run(tmp_path / "c", 0.0, 1, images=30)])
    with pytest.raises(FileNotFoundError, match=r"nothing has no scores\.json"):
        runs.compare_runs([first, tmp_path / "nothing"])
    with pytest.raises(ValueError, match="twice"):
        runs.compare_runs([first, first])


def test_equal_runs_and_images_without_a_score(tmp_path: Path) -> None:
    folders = [write_tested_run(tmp_path / name, 0.1, 1) for name in ("a", "b")]
    table = pd.read_csv(folders[1] / "scores.csv")
    table.loc[0, "nss"] = np.nan
    table.to_csv(folders[1] / "scores.csv", index=False)
    result = runs.compare_runs(folders)
    assert np.isnan(result.p_values["nss"]["a", "b"])
    assert formats.markdown_table(result).count("**") == 8


def test_folders_of_one_name_get_different_labels_and_old_runs_can_be_read(tmp_path: Path) -> None:
    folders = [
        write_tested_run(tmp_path / day / "x", 0.1, i) for i, day in enumerate(("mon", "tue"))
    ]
    for folder in folders:
        about = json.loads((folder / "scores.json").read_text())
        del about["protocol"], about["maps"], about["settings"]
        (folder / "scores.json").write_text(json.dumps(about))
    assert runs.compare_runs(folders).runs == ["mon/x", "tue/x"]


def test_where_nothing_can_be_tested_only_the_best_is_best(tmp_path: Path) -> None:
    folders = [
        write_tested_run(tmp_path / n, g, s, images=3) for n, g, s in (("a", 0.0, 1), ("b", 0.5, 2))
    ]
    result = runs.compare_runs(folders)
    assert np.isnan(result.p_values["nss"]["a", "b"])
    assert runs.is_among_best(result, "nss", "b")
    assert not runs.is_among_best(result, "nss", "a")
    assert not runs.is_among_best(result, "nss", "centre")


def test_baselines_that_differ_say_whose_they_are(tmp_path: Path) -> None:
    folders = write_tested_runs(tmp_path)
    about = json.loads((folders[1] / "scores.json").read_text())
    about["scores"]["centre"]["nss"]["mean"] = 1.5
    (folders[1] / "scores.json").write_text(json.dumps(about))
    result = runs.compare_runs(folders)
    assert [*result.means] == ["a", "b_2", "c", "centre", "centre of b_2"]
    assert result.means["centre of b_2"]["nss"]["mean"] == 1.5


def test_a_folder_of_runs_stands_for_the_tested_ones(tmp_path: Path) -> None:
    folders = write_tested_runs(tmp_path)
    (tmp_path / "untested").mkdir()
    assert runs.find_tested_runs(tmp_path) == folders
    assert runs.find_tested_runs(folders[0]) == folders[:1]
    assert runs.find_tested_runs(tmp_path / "untested") == [tmp_path / "untested"]


def test_runs_that_were_trained_on_different_sets_are_named_after_them(tmp_path: Path) -> None:
    folders = [write_tested_run(tmp_path / f"x-s{i}", 0.1, i) for i in range(3)]
    assert runs.compare_runs(folders).runs == ["x-s0", "x-s1", "x-s2"]
    for folder, name in zip(folders, ("OSIE", "NUS scenes", None), strict=True):
        summary = {**json.loads((folder / "scores.json").read_text()), "trained_on": name}
        (folder / "scores.json").write_text(json.dumps(summary))
    labels = ["x-s0 (trained on OSIE)", "x-s1 (trained on NUS scenes)", "x-s2"]
    assert runs.compare_runs(folders).runs == labels


def test_images_of_any_name_are_compared(tmp_path: Path) -> None:
    names = ["NA", "null", "None", "007", "1e5", "", "nan", "-inf"]
    for run in ("a", "b"):
        rows = [{"name": n, "nss": i + 0.5, "cc": np.nan} for i, n in enumerate(names)]
        (tmp_path / run).mkdir()
        score_files.write_scores(tmp_path / run, rows, "names")
    table = runs.read_tested_run(tmp_path / "a")[1]
    assert table.index.tolist() == names
    assert table["nss"].tolist() == [i + 0.5 for i in range(8)]
    assert table["cc"].isna().all()
    assert runs.compare_runs([tmp_path / "a", tmp_path / "b"]).means["a"]["nss"]["count"] == 8


def test_ig_over_different_priors_is_not_compared(tmp_path: Path) -> None:
    prior = {"dataset": "OSIE", "images": "500 training images", "bandwidth": 0.05}
    for run, fixations in (("a", "1"), ("b", "1"), ("c", "2")):
        rows = [{"name": str(i), "nss": 1.0, "ig": 0.5 * i} for i in range(8)]
        (tmp_path / run).mkdir()
        settings = {"centre": {**prior, "fixations": fixations}}
        score_files.write_scores(tmp_path / run, rows, "OSIE", settings=settings)
    same = runs.compare_runs([tmp_path / "a", tmp_path / "b"])
    assert "IG in bit over the centre prior of 500 training images of OSIE" in same.header
    assert [*same.best] == ["nss", "ig"]
    other = runs.compare_runs([tmp_path / "a", tmp_path / "c"])
    assert [*other.best] == ["nss"]
    assert "no IG, because it is over another centre prior in each run" in other.header
