import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepsal.report import run_folders
from deepsal.report.page import sweep_page
from deepsal.runs import score_files

MEASURES = {"correlation": 0.5, "csi": 0.2}


def job(folder: Path, backbone: str, depth: str, nss: float | None, ended: str = "done") -> None:
    folder.mkdir(parents=True)
    config = {
        "name": f"{backbone}-{depth}",
        "names": {"saliency": f"{backbone}-{depth}"},
        "backbone": {"name": backbone, "model": backbone},
        "finetune": {"name": depth, "depth": depth},
        "task": {"network": backbone},
        "seed": 0,
        "output_dir": str(folder),
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "status").write_text(f"{ended}\n")
    if nss is not None:
        score_files.write_scores(
            folder, [{"name": str(i), "nss": nss, "cc": 0.5} for i in range(3)], "OSIE"
        )
        row = {f"rf/{stage}/{m}": v for stage in ("conv1", "conv2") for m, v in MEASURES.items()}
        pd.DataFrame([{"epoch": 0, "step": 0, **row}]).to_csv(folder / "metrics.csv", index=False)
        (folder / "report.html").write_text("")


def sweep(folder: Path, name: str = "sweep") -> Path:
    """Make the folders of a sweep of five jobs, one of which failed."""
    places = [(b, d) for b in ("vgg16", "resnet50") for d in ("conv5", "all")]
    for i, (backbone, depth) in enumerate(places):
        job(folder / name / f"{i}-{backbone}-{depth}", backbone, depth, 1.0 + i)
    job(folder / name / "10-bad", "alexnet", "all", None, "failed: ValueError: <b>no</b> such file")
    return folder / name


def test_jobs_differ_in_their_options_only(tmp_path: Path) -> None:
    jobs = run_folders.find_runs(sweep(tmp_path))
    names = [job.name for job in jobs]
    assert names[0] == "0-vgg16-conv5"
    assert names[-1] == "10-bad", "job 10 after job 3"
    columns = sweep_page.differing_options([job.options for job in jobs])
    assert columns == {
        "backbone": ["vgg16", "vgg16", "resnet50", "resnet50", "alexnet"],
        "finetune": ["conv5", "all", "conv5", "all", "all"],
    }
    assert jobs[1].scores["nss"]["mean"] == 2.0
    assert jobs[1].fields == {m: {"conv1": v, "conv2": v} for m, v in MEASURES.items()}


def test_backbone_times_depth_is_a_table_of_means(tmp_path: Path) -> None:
    jobs = run_folders.find_runs(sweep(tmp_path))
    heats = {
        heat.title: heat for heat in sweep_page.shaded_tables(jobs, [job.name for job in jobs])
    }
    nss = heats["Test NSS: backbone × depth"]
    assert nss.columns == ["conv5", "all"]
    assert nss.rows[0][0] == "vgg16"
    assert np.array(nss.rows[0][1]) == pytest.approx(np.array([[1.0, 0.0], [2.0, 1 / 3]]))
    assert nss.rows[2] == ("alexnet", [None, None])
    moved = heats["Correlation with epoch 0, median over units at the end"]
    assert moved.columns == ["conv1", "conv2"]
    assert moved.rows[0][0] == "2-resnet50-conv5", "by backbone, then depth"
    assert moved.spoken(-0.25) == "−0.25"


def test_the_page_links_runs_and_tells_why_jobs_failed(tmp_path: Path) -> None:
    text = sweep_page.write_sweep_page(sweep(tmp_path, "a <b>sweep</b>")).read_text()
    assert 'href="1-vgg16-all/report.html"' in text
    assert text.count("<a href=") == 4 + 3, "four runs and the page's own parts"
    assert "failed: ValueError: &lt;b&gt;no&lt;/b&gt; such file" in text
    assert "<b>sweep" not in text
    assert "4 of 5 runs are done" in text
    assert not re.search(r'src="(?!data:)', text)


def test_seeds_are_averaged_and_other_files_passed_over(tmp_path: Path) -> None:
    folder = sweep(tmp_path)
    job(folder / "11-vgg16-all", "vgg16", "all", 4.0)
    wandb = folder / "11-vgg16-all" / "wandb" / "files"
    wandb.mkdir(parents=True)
    (wandb / "config.yaml").write_text("a: 1")
    jobs = run_folders.find_runs(folder)
    assert len(jobs) == 6
    nss = sweep_page.shaded_tables(jobs, [job.name for job in jobs])[0]
    assert np.array(nss.rows[0][1][1]) == pytest.approx([3.0, 2 / 3])


def test_a_job_that_failed_at_once_is_listed(tmp_path: Path) -> None:
    (tmp_path / "0-bad" / ".hydra").mkdir(parents=True)
    (tmp_path / "0-bad" / "status").write_text("failed: OSError: disk full\n")
    assert "failed: OSError: disk full" in sweep_page.write_sweep_page(tmp_path).read_text()


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run folders"):
        sweep_page.write_sweep_page(tmp_path)
