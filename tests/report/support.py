"""Run folders for the tests of the reports, with all files that the reports read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepsal.rf import store
from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.gradient_fields import ReceptiveFields
from deepsal.rf.mapping.noise_fields import StoredNoiseFields
from deepsal.rf.measures.summary import field_change_measures
from deepsal.runs import score_files

STAGE = {"sigma": 0.0, "size": [9, 9], "stride": [2, 2], "offset": [2, 2]}
GEOMETRY = FieldGeometry(size=(9, 9), stride=(2, 2), offset=(2, 2))
MEASURES = {"correlation": 0.5, "csi": 0.2}
HOSTILE_NAME = "<script>alert('x')</script>\"'&{{ 7*7 }}" + "long" * 100
CLAIM_ROW = {
    "claim": "P1",
    "stage": "conv1",
    "measure": "cosine",
    "effect": {"estimate": 0.95, "low": 0.91, "high": 0.99, "count": 16},
    "reference": "untrained",
    "reference_estimate": 0.03,
    "p": None,
    "outcome": "supported",
    "background": "natural",
    "note": "seen with power",
}
POWER_ROW = {
    "network": "shuffled_fixations",
    "stage": "conv5",
    "background": "grey",
    "reliability": 0.95,
    "pairs": 512,
    "spread": 0.5,
    "found": {"mean": 0.25, "low": 0.1, "high": 0.4, "count": 16},
    "rule": {
        "threshold": 0.03,
        "power": {"0.3": 0.4, "0.55": 0.91, "0.9": 1.0},
        "false_alarms": {"gaussian": 0.04, "gabor": 0.0, "noise": 0.02},
    },
}


def random_fields(scale: float, dead: bool = False) -> ReceptiveFields:
    """Return the fields of four units: noise, and `scale` more at the centre."""
    field = np.random.default_rng(0).normal(size=(4, 3, 9, 9)).astype(np.float32)
    field[:, :, 4, 4] += scale
    count = np.array([0 if dead else 2, 2, 2, 2])
    return ReceptiveFields(
        field,
        units=np.arange(4),
        patches=np.zeros((4, 2, 3), dtype=np.int64),
        centre=np.zeros((4, 2, 2), dtype=np.float32),
        activation=np.zeros((4, 2), dtype=np.float32),
        count=count,
        reliability=np.where(count, [0.95, 0.8, 0.2, np.nan], np.nan),
    )


def field_arrays(
    stage: str, fields: ReceptiveFields, start: ReceptiveFields, epoch: int = 0
) -> dict[str, Any]:
    """Return the arrays that a run stores with a stage's fields: measures, responses to disks."""
    measures = field_change_measures(fields.field, start.field, GEOMETRY)
    responses = [[[1, 4, 1 + epoch], [-1, -4, -1]]] * 3 + [[[0, -2, 0], [0, 0, 0]]]
    return {
        **{f"{stage}/measure/{name}": values for name, values in measures.items()},
        f"{stage}/gratings": np.array([[1.0, 2, 1]] * 3 + [[0.0, 0, 0]]),
        f"{stage}/measure/ssi_grating": np.array([0.5, 0.5, 0.5, np.nan]),
        f"{stage}/disks": np.array(responses, dtype=np.float32),
        f"{stage}/radius": np.array([1.0, 3, 9]),
    }


def write_fields(
    folder: Path, stages: tuple[str, ...] = ("conv1", "conv2"), epochs: int = 3
) -> None:
    """Write the fields of four units, the last one dead, and their responses to disks."""
    sources = ["centred", "strongest"]
    about = {"stages": dict.fromkeys(stages, STAGE), "sources": sources}
    checkpoints = [random_fields(2.0 * epoch) for epoch in range(epochs)]
    for epoch, fields in enumerate(checkpoints):
        fields.field[3] = np.nan
        arrays: dict[str, Any] = {}
        for stage in stages:
            arrays |= field_arrays(stage, fields, checkpoints[0], epoch)
        entries = {f"{stage}/{source}": fields for stage in stages for source in sources}
        file = folder / "fields" / f"epoch={epoch:03d}.npz"
        store.save_fields(file, entries, {**about, "epoch": epoch, "step": 30 * epoch}, arrays)


def write_two_checkpoints(folder: Path, sources: tuple[str, ...], dead: bool = False) -> None:
    """Write the fields of conv4 at epochs 0 and 6, for some patch sources."""
    start = random_fields(0.0)
    for epoch, fields in ((0, start), (6, random_fields(40.0, dead))):
        entries = {f"conv4/{source}": fields for source in sources}
        about = {"epoch": epoch, "step": epoch, "stages": {"conv4": STAGE}, "sources": sources}
        file = folder / "fields" / f"epoch={epoch:03d}.npz"
        store.save_fields(file, entries, about, field_arrays("conv4", fields, start))


def noise_fields(scale: float) -> StoredNoiseFields:
    """Return fields of five units: reliable, less so, not, not at all, and silent."""
    field = np.random.default_rng(0).normal(size=(5, 3, 9, 9)).astype(np.float32)
    field[:, :, 3:6, 3:6] += scale
    field[4] = 0
    return StoredNoiseFields(
        field=field,
        stderr=np.full_like(field, 0.1),
        units=np.arange(5),
        reliability=np.array([0.97, 0.8, 0.4, -0.02, np.nan]),
        cell=4,
        step=2,
        origin=(-8, -8),
        pairs=512,
        positions=9,
        amplitude=0.05,
        gain=(1.0, 1.0, 1.0),
        background="images",
        stopped="budget",
        whole=True,
    )


def write_noise_checkpoints(folder: Path, stages: tuple[str, ...] = ("conv4",)) -> None:
    """Write fields of four watched units at epochs 0 and 6, measured with noise."""
    units, start = [0, 1, 2, 3], noise_fields(1.0)
    for epoch, fields in ((0, start), (6, noise_fields(3.0))):
        watched = store.field_at_pixels(fields, units)
        measures = field_change_measures(watched, store.field_at_pixels(start, units), GEOMETRY)
        measures |= {"reliability": fields.reliability[:4], "correlation": np.full(4, np.nan)}
        measures |= {"correlation_ceiling": np.full(4, 0.8), "extent_error": np.full(4, 0.25)}
        entries: dict[str, store.StoredFields] = {}
        arrays: dict[str, Any] = {}
        for stage in stages:
            entries |= {f"{stage}/{source}": fields for source in ("natural", "grey")}
            entries[f"{stage}/strongest"] = random_fields(1.0)
            arrays |= field_arrays(stage, random_fields(1.0), random_fields(1.0), epoch)
            arrays |= {f"{stage}/measure/{name}": values for name, values in measures.items()}
        about = {
            "method": "reverse_correlation",
            "patch_method": "gradient",
            "patches": 2,
            "target": 0.9,
            "sources": ["natural", "grey", "strongest"],
            "noise_sources": ["natural", "grey"],
            "units": dict.fromkeys(stages, units),
            "stages": dict.fromkeys(stages, STAGE),
        }
        file = folder / "fields" / f"epoch={epoch:03d}.npz"
        store.save_fields(file, entries, {**about, "epoch": epoch, "step": 30 * epoch}, arrays)


def write_metrics(folder: Path, steps: int = 30, epochs: int = 2) -> None:
    """Write `metrics.csv` of a training with so many steps per epoch."""
    rows: list[dict[str, float]] = [{"epoch": 0, "step": 0, "rf/conv1/cka_to_start": 1.0}]
    for step in range(9, steps * epochs, 10):
        rows.append({"epoch": step // steps, "step": step, "train/loss": 1 / (step + 1)})
    for epoch in range(epochs):
        end = steps * (epoch + 1)
        rows.append({"epoch": epoch, "step": end - 1, "val/loss": 0.5, "val/nss": epoch})
        rows.append({"epoch": epoch, "step": end, "rf/conv1/cka_to_start": 0.9 - epoch / 10})
    pd.DataFrame(rows).to_csv(folder / "metrics.csv", index=False)


def write_gallery(folder: Path, name: str = "a.jpg") -> None:
    """Write `gallery.npz` with the best and the worst prediction."""
    image = np.full((2, 30, 40, 3), 200, dtype=np.uint8)
    maps = np.zeros((2, 30, 40), dtype=np.uint8)
    maps[:, 10:20, 10:20] = 255
    rows = [
        {"name": name, "rank": rank, "nss": nss, "fixations": [[0.25, 0.5]]}
        for rank, nss in (("best", 3.0), ("worst", -0.5))
    ]
    arrays = {"image": image, "truth": maps, "prediction": maps}
    store.save_arrays(folder / "gallery.npz", {**arrays, "about": np.array(json.dumps(rows))})


def write_run(folder: Path, name: str = "a run", epochs: int = 3) -> Path:
    """Write a small run folder with all parts of a page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_fields(folder, epochs=epochs)
    write_metrics(folder)
    write_gallery(folder, f"{name}.jpg")
    value = {"nss": 2.0, "cc": 0.5, "kl": 0.4, "sim": 0.6, "auc": 0.8}
    rows = [{"name": str(i), **value, **{f"centre_{k}": 0.1 for k in value}} for i in range(3)]
    score_files.write_scores(folder, rows, f"data of {name}")
    shallow = {**POWER_ROW, "stage": "conv1", "found": None, "rule": None}
    verdict = {
        "rows": [CLAIM_ROW, {**CLAIM_ROW, "outcome": ""}],
        "networks": [shallow, POWER_ROW],
    }
    (folder / "verdict.json").write_text(json.dumps(verdict))
    config = {"name": name, "backbone": {"name": "toy"}, "finetune": {"name": "all"}}
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "origin.json").write_text(json.dumps({"command": ["run.py", name]}))
    (folder / "status").write_text("done\n")
    return folder


def write_job(
    folder: Path, backbone: str, depth: str, nss: float | None, status: str = "done"
) -> None:
    """Write the run folder of a job of a sweep; without an NSS it has no results."""
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
    (folder / "status").write_text(f"{status}\n")
    if nss is not None:
        score_files.write_scores(
            folder, [{"name": str(i), "nss": nss, "cc": 0.5} for i in range(3)], "OSIE"
        )
        row = {f"rf/{stage}/{m}": v for stage in ("conv1", "conv2") for m, v in MEASURES.items()}
        pd.DataFrame([{"epoch": 0, "step": 0, **row}]).to_csv(folder / "metrics.csv", index=False)
        (folder / "report.html").write_text("")


def write_sweep(folder: Path, name: str = "sweep") -> Path:
    """Write the run folders of a sweep of five jobs, one of which failed."""
    jobs = [(b, d) for b in ("vgg16", "resnet50") for d in ("conv5", "all")]
    for i, (backbone, depth) in enumerate(jobs):
        write_job(folder / name / f"{i}-{backbone}-{depth}", backbone, depth, 1.0 + i)
    error = "failed: ValueError: <b>no</b> such file"
    write_job(folder / name / "10-bad", "alexnet", "all", None, error)
    return folder / name


def write_tested_run(
    folder: Path, gain: float, seed: int, protocol: str = "tuebingen", images: int = 40
) -> Path:
    """Write the scores of a run whose NSS is better, and whose KL is lower, by `gain`."""
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
    score_files.write_scores(folder, rows, "OSIE 2014", protocol)
    return folder


def write_tested_runs(folder: Path) -> list[Path]:
    """Write the scores of three runs, of which the first one is worse."""
    runs = (("a", 0.0, 1), ("b_2", 0.5, 2), ("c", 0.5, 3))
    return [write_tested_run(folder / name, gain, seed) for name, gain, seed in runs]


def write_seed_run(folder: Path, loss: str, gain: float, seed: int) -> Path:
    """Write a tested run of a method (a loss) and a seed."""
    run = write_tested_run(folder / f"{len(list(folder.iterdir()))}-{loss}-s{seed}", gain, seed)
    config = {
        "name": f"{loss}-s{seed}",
        "names": {"saliency": f"{loss}-s{seed}"},
        "seed": seed,
        "loss": {"name": loss},
        "output_dir": str(run),
    }
    (run / "config.yaml").write_text(json.dumps(config))
    return run


def write_finished_job(folder: Path, loss: str, seed: int, nss: Mapping[str, float]) -> None:
    """Write the files of a finished job that a study reads."""
    folder.mkdir(parents=True)
    (folder / "done").touch()
    (folder / "status").write_text("done\n")
    options = {"loss": {"name": loss}, "seed": seed}
    (folder / "config.yaml").write_text(json.dumps(options))
    scores = pd.DataFrame({"name": [*nss], "nss": [*nss.values()]})
    scores.to_csv(folder / "scores.csv", index=False)
    metrics = pd.DataFrame({"epoch": [0, 3], "rf/conv4/correlation": [1.0, 0.5 + seed / 10]})
    metrics.to_csv(folder / "metrics.csv", index=False)
