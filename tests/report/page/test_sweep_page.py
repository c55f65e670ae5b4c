import re
from pathlib import Path

import numpy as np
import pytest

from deepsal.report import run_folders
from deepsal.report.page import sweep_page
from tests.report.support import MEASURES, write_job, write_sweep


def test_runs_differ_in_their_options_only(tmp_path: Path) -> None:
    runs = run_folders.find_runs(write_sweep(tmp_path))
    names = [run.name for run in runs]
    assert names[0] == "0-vgg16-conv5"
    assert names[-1] == "10-bad", "run 10 after run 3"
    columns = sweep_page.differing_options([run.options for run in runs])
    assert columns == {
        "backbone": ["vgg16", "vgg16", "resnet50", "resnet50", "alexnet"],
        "finetune": ["conv5", "all", "conv5", "all", "all"],
    }
    assert runs[1].scores["nss"]["mean"] == 2.0
    assert runs[1].fields == {m: {"conv1": v, "conv2": v} for m, v in MEASURES.items()}


def test_backbone_times_depth_is_a_table_of_means(tmp_path: Path) -> None:
    runs = run_folders.find_runs(write_sweep(tmp_path))
    tables = {
        table.title: table for table in sweep_page.shaded_tables(runs, [run.name for run in runs])
    }
    nss = tables["Test NSS: backbone × depth"]
    assert nss.columns == ["conv5", "all"]
    assert nss.rows[0][0] == "vgg16"
    assert np.array(nss.rows[0][1]) == pytest.approx(np.array([[1.0, 0.0], [2.0, 1 / 3]]))
    assert nss.rows[2] == ("alexnet", [None, None])
    moved = tables["Correlation with epoch 0, median over units at the end"]
    assert moved.columns == ["conv1", "conv2"]
    assert moved.rows[0][0] == "2-resnet50-conv5", "by backbone, then depth"
    assert moved.format_value(-0.25) == "−0.25"


def test_the_page_links_runs_and_tells_why_runs_failed(tmp_path: Path) -> None:
    text = sweep_page.write_sweep_page(write_sweep(tmp_path, "a <b>sweep</b>")).read_text()
    assert 'href="1-vgg16-all/report.html"' in text
    assert text.count("<a href=") == 4 + 3, "four runs and the page's own parts"
    assert "failed: ValueError: &lt;b&gt;no&lt;/b&gt; such file" in text
    assert "<b>sweep" not in text
    assert "4 of 5 runs are done" in text
    assert not re.search(r'src="(?!data:)', text)


def test_seeds_are_averaged_and_other_files_passed_over(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path)
    write_job(folder / "11-vgg16-all", "vgg16", "all", 4.0)
    wandb = folder / "11-vgg16-all" / "wandb" / "files"
    wandb.mkdir(parents=True)
    (wandb / "config.yaml").write_text("a: 1")
    runs = run_folders.find_runs(folder)
    assert len(runs) == 6
    nss = sweep_page.shaded_tables(runs, [run.name for run in runs])[0]
    assert np.array(nss.rows[0][1][1]) == pytest.approx([3.0, 2 / 3])


def test_a_job_that_failed_at_once_is_listed(tmp_path: Path) -> None:
    (tmp_path / "0-bad").mkdir()
    (tmp_path / "0-bad" / "status").write_text("failed: OSError: disk full\n")
    assert "failed: OSError: disk full" in sweep_page.write_sweep_page(tmp_path).read_text()


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run folders"):
        sweep_page.write_sweep_page(tmp_path)
