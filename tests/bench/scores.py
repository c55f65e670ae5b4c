"""Every score of OSIE images at 800x600: ours against pysaliency, and torchmetrics where it has it.

Bars: exact AUC at least 10 times pysaliency, the whole set at least 4 times, none slower.
pysaliency runs in the environment that `make reference` makes, one process, as many threads.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torchmetrics.functional import kl_divergence, pearson_corrcoef
from torchmetrics.functional.classification import binary_auroc

from deepsal.metrics.functional import auc, cc, information_gain, kl, nss, sauc, sim
from tests.bench.harness import ROOT, Row
from tests.reference.maps import Case, Image, counts, data_dir, fixations, osie_case

IMAGES = int(os.environ.get("BENCH_IMAGES", "100"))
PYTHON = ROOT / ".reference" / "bin" / "python"
Calls = dict[str, Callable[[], Any]]


def run(only: str) -> Iterator[Row]:
    """Yield a row per score and one for the whole set; none without OSIE or pysaliency."""
    folder = data_dir()
    python = os.environ.get("REFERENCE_PYTHON", str(PYTHON))
    if not folder or not Path(python).exists():
        Console().print("scores: needs DEEPSAL_DATA and the environment of `make reference`")
        return
    everyone = fixations(folder)
    ours: dict[str, float] = {}
    library: dict[str, float] = {}
    values: dict[str, list[float]] = {}
    for i in [0, *range(IMAGES)]:  # the first one warms up
        case = osie_case(everyone, i, "subjects")
        if len(values) and len(values["auc"]) == 1 and i == 0:
            ours, library, values = {}, {}, {}
        _time(_torchmetrics(case), library, {})
        _time(_ours(case), ours, values)
    reference = _pysaliency(python)
    for score in ours:
        pairs = zip(values[score], reference["values"][score], strict=True)
        apart = max(abs(mine - other) for mine, other in pairs)
        seconds = reference["seconds"][score]
        yield _row(score, ours[score], seconds, "pysaliency 0.2.22", max_rel_diff=apart)
    total = sum(reference["seconds"].values())
    yield _row("whole", sum(ours.values()), total, "pysaliency 0.2.22, all seven")
    for score, seconds in library.items():
        yield _row(f"{score}/torchmetrics", ours[score], seconds, "torchmetrics")


def _time(calls: Calls, seconds: dict[str, float], values: dict[str, list[float]]) -> None:
    for score, call in calls.items():
        began = time.perf_counter()
        value = call().item()
        seconds[score] = seconds.get(score, 0) + time.perf_counter() - began
        values.setdefault(score, []).append(value)


def _ours(case: Case) -> Calls:
    p, truth, baseline = (_single(x) for x in (case.prediction, case.truth, case.baseline))
    log, base = p.log(), baseline.log()
    here, there = (_single(counts(points)) for points in (case.points, case.others))
    return {
        "auc": lambda: auc(log, here),
        "sauc": lambda: sauc(log, here, there),
        "nss": lambda: nss(log, here),
        "cc": lambda: cc(log, truth),
        "sim": lambda: sim(log, truth),
        "kl": lambda: kl(log, truth),
        "ig": lambda: information_gain(log, here, base),
    }


def _torchmetrics(case: Case) -> Calls:
    p, truth = (_single(x).flatten() for x in (case.prediction, case.truth))
    fixated = _single(counts(case.points)).flatten() > 0
    return {
        "auc": lambda: binary_auroc(p / p.max(), fixated.long()),
        "cc": lambda: pearson_corrcoef(p, truth),
        "kl": lambda: kl_divergence(truth[None], p[None]),
    }


def _single(image: Image) -> Tensor:
    return torch.from_numpy(image).float()[None]


def _pysaliency(python: str) -> Any:
    threads = str(torch.get_num_threads())
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    done = subprocess.run(
        [python, "-m", "tests.bench.reference_scores", str(IMAGES)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **dict.fromkeys(names, threads)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"pysaliency's side failed:\n{done.stderr}")
    return json.loads(done.stdout)


def _row(score: str, ours: float, reference: float, said: str, **more: Any) -> Row:
    row: Row = {"name": f"scores/{score}", "ours_s": ours, "reference_s": reference}
    row |= {"ratio": reference / ours, "reference": f"{said}, {IMAGES} images", **more}
    row |= {"ours_peak_mb": float("nan"), "reference_peak_mb": float("nan"), "repeats": 1}
    Console().print(f"{row['name']}: {row['ratio']:.2f}x")
    return row
