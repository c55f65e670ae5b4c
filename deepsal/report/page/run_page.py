"""One HTML file per run, of everything that was learnt; needs no server and no network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepsal import atomic
from deepsal.report.page import field_data
from deepsal.report.page.chart import Chart, Line, chart
from deepsal.report.page.field_data import Stage, Values
from deepsal.report.page.gallery import address, gallery
from deepsal.report.page.header import header
from deepsal.report.page.rendering import render
from deepsal.report.page.training_curves import at_steps, curves
from deepsal.report.run_folders import options
from deepsal.rf.claims.verdict import WITHDRAWN
from deepsal.rf.plot.grid import COLOURS
from deepsal.runs import score_files
from deepsal.statistics import interval
from deepsal.vocabulary import LOWER, MEASURES, SCORES

LARGEST = 8 * 10**6
"""Bytes a page may have; pictures of units shrink until it fits."""
CELLS = (96, 64, 48, 32, 24)
CLAIMS = {
    "P1": "The first three stages hardly change.",
    "P2": "The last two stages change fundamentally.",
    "P3": "Their units are all variations of centre-surround.",
    "P4": "A larger clamp value spreads the pattern.",
    "P5": "A unit's pattern excites that unit most.",
}
OF_UNIT = {**MEASURES, "opponency": "opponency", "surround": "surround index"}
OF_UNIT |= {"radius": "preferred disk, radius in px", "anisotropy": "anisotropy"}
OF_UNIT |= {"centre_surround": "centre-surround by the rule"}


def write(folder: Path, beside: Sequence[Path] = ()) -> Path:
    """Write a run's `report.html`, at most 8 MB with default settings.

    Args:
        folder: the run folder; parts it does not have are left out.
        beside: run folders of baselines to show the scores with, besides those next to `folder`.

    Raises:
        FileNotFoundError: it is no run folder.
    """
    if not (folder / "config.yaml").is_file() and not (folder / "fields").is_dir():
        raise FileNotFoundError(
            f"{folder} is no run folder: it holds neither config.yaml nor fields/"
        )
    stages = field_data.stages(folder)
    parts = {
        **_fixed(folder, beside),
        "stages": stages,
        "stage_curves": stage_curves(folder, stages),
    }
    for cell in CELLS:
        text = render("page.html", {**parts, "data": _data(stages, cell)})
        if len(text.encode()) <= LARGEST:
            break
    return atomic.write_text(folder / "report.html", text)


def _fixed(folder: Path, beside: Sequence[Path]) -> dict[str, Any]:
    file = folder / "verdict.json"
    verdict = json.loads(file.read_text())["rows"] if file.is_file() else []
    test = score_files.read(folder) if (folder / "scores.json").is_file() else None
    if test:
        test["scores"] |= baselines(folder, beside)
    return {
        "header": header(folder),
        "scores": test,
        "score_names": {k: v for k, v in SCORES.items() if test and k in test["scores"]["run"]},
        "lower": LOWER,
        "curves": curves(folder),
        "gallery": gallery(folder),
        "verdict": verdict,
        "claims": CLAIMS,
        "withdrawn": WITHDRAWN,
    }


def baselines(folder: Path, beside: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the scores of baselines' runs (itti, human …) on the images that a run was scored on.

    Args:
        folder: the run's; runs beside it that were scored alike are taken.
        beside: more of them.

    Raises:
        ValueError: one of `beside` was scored on other images or by other definitions.
    """
    mine, found = score_files.read(folder), {}
    near = [file.parent for file in sorted(folder.absolute().parent.glob("*/scores.json"))]
    for other in [*near, *beside]:
        theirs, config = score_files.read(other), options(other)
        name = config.get("network", {}).get("name", "saliency")
        alike = all(mine[k] == theirs[k] for k in ("dataset", "images", "protocol", "maps"))
        if other in beside and not alike:
            raise ValueError(f"{other} was not scored as {folder}: other images or definitions")
        if alike and name not in {"saliency", "centre", "uniform"}:
            found[config.get("name", name)] = theirs["scores"]["run"]
    return found


def _data(stages: Sequence[Stage], cell: int) -> dict[str, Any]:
    """Return what the script needs to show fields through training."""
    return {
        "checkpoints": [f"epoch {epoch}" for epoch in stages[0].checkpoints] if stages else [],
        "colours": COLOURS.ravel().tolist(),
        "measures": OF_UNIT,
        "stages": [plain(stage, cell) for stage in stages],
    }


def stage_curves(folder: Path, stages: Sequence[Stage]) -> list[Chart]:
    """Return a chart per measure: each stage's median over units and its 95 % interval."""
    charts = []
    for measure, title in MEASURES.items():
        lines = []
        for stage in stages:
            if measure in stage.measures:
                found = [interval(values) for values in stage.measures[measure]]
                y, low, high = ([f[i] for f in found] for i in (0, 1, 2))
                lines.append(Line(stage.name, stage.checkpoints, y, low, high))
            else:
                y = at_steps(folder, f"rf/{stage.name}/{measure}", stage.steps)
                lines.append(Line(stage.name, stage.checkpoints, y))
        if lines and (made := chart(title, "epoch", lines)):
            charts.append(made)
    return charts


def plain(stage: Stage, cell: int) -> dict[str, Any]:
    """Return a stage as JSON values; NaN becomes null."""
    sprite, size = field_data.sprite(stage.picture, cell)
    return {
        "name": stage.name,
        "units": stage.units,
        "side": stage.side,
        "cell": size,
        "sprite": address(sprite),
        "peak": _listed(stage.peak, 4),
        "profile": _curves(stage.radius, stage.profile),
        "sizes": _curves(stage.sizes.radius, stage.sizes.curve) if stage.sizes else None,
        "measures": {key: _listed(values, 4) for key, values in stage.measures.items()},
        "patches": address(stage.patches) if stage.patches else None,
    }


def _curves(x: Values, y: Values) -> dict[str, Any]:
    """Return curves (T, U, R), each divided by its unit's largest through training."""
    largest = np.nanmax(np.abs(y), axis=(0, 2), keepdims=True, initial=0)
    return {"x": _listed(x, 4), "y": _listed(y / np.where(largest > 0, largest, 1), 3)}


def _listed(values: Any, digits: int) -> Any:
    """Return nested lists of numbers of so many digits, null for what is not finite."""
    if np.ndim(values):
        return [_listed(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if np.isfinite(values) else None
