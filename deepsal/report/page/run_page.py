"""One HTML file per run, of everything that was learnt; needs no server and no network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepsal import atomic
from deepsal.report.page import field_data
from deepsal.report.page.chart import DataLine, LineChart, line_chart
from deepsal.report.page.field_data import FloatArray, StageFields
from deepsal.report.page.gallery import read_gallery, webp_data_uri
from deepsal.report.page.header import read_header
from deepsal.report.page.rendering import render_template
from deepsal.report.page.training_curves import logged_at_steps, training_charts
from deepsal.report.run_folders import read_options
from deepsal.rf.claims.rules import CLAIM_STATEMENTS
from deepsal.rf.claims.verdict import WITHDRAWAL_NOTE
from deepsal.rf.plot.grid import SIGNED_COLOURS
from deepsal.runs import score_files
from deepsal.statistics import bootstrap_interval
from deepsal.vocabulary import MEASURES, SCORES, TARGET_SCORES

MAX_PAGE_BYTES = 8 * 10**6
"""Bytes a page may have; pictures of units shrink until it fits."""
SPRITE_CELL_SIDES = (96, 64, 48, 32, 24)
UNIT_MEASURES = {**MEASURES, "opponency": "opponency", "surround": "surround index"}
UNIT_MEASURES |= {"radius": "preferred disk, radius in px", "anisotropy": "anisotropy"}
UNIT_MEASURES |= {"centre_surround": "centre-surround by the rule"}


def write_run_page(folder: Path, beside: Sequence[Path] = ()) -> Path:
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
    stages = field_data.read_stage_fields(folder)
    parts = {
        **_page_parts(folder, beside),
        "stages": stages,
        "stage_curves": stage_charts(folder, stages),
    }
    for cell in SPRITE_CELL_SIDES:
        text = render_template("page.html", {**parts, "data": _script_data(stages, cell)})
        if len(text.encode()) <= MAX_PAGE_BYTES:
            break
    return atomic.write_text(folder / "report.html", text)


def _page_parts(folder: Path, beside: Sequence[Path]) -> dict[str, Any]:
    file = folder / "verdict.json"
    verdict = json.loads(file.read_text())["rows"] if file.is_file() else []
    test = score_files.read_scores(folder) if (folder / "scores.json").is_file() else None
    if test:
        test["scores"] |= baseline_scores(folder, beside)
    entries = {**SCORES, **TARGET_SCORES}
    return {
        "header": read_header(folder),
        "scores": test,
        "score_names": {
            k: v.label for k, v in entries.items() if test and k in test["scores"]["run"]
        },
        "lower": [s for s, entry in entries.items() if entry.direction == "min"],
        "curves": training_charts(folder),
        "gallery": read_gallery(folder),
        "verdict": verdict,
        "claims": CLAIM_STATEMENTS,
        "withdrawn": WITHDRAWAL_NOTE,
    }


def baseline_scores(folder: Path, beside: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the scores of baselines' runs (itti, human …) on the images that a run was scored on.

    Args:
        folder: the run's; runs beside it that were scored alike are taken.
        beside: more of them.

    Raises:
        ValueError: one of `beside` was scored on other images or by other definitions.
    """
    mine, found = score_files.read_scores(folder), {}
    near = [file.parent for file in sorted(folder.absolute().parent.glob("*/scores.json"))]
    for other in [*near, *beside]:
        theirs, config = score_files.read_scores(other), read_options(other)
        name = config.get("network", {}).get("name", "saliency")
        alike = all(mine[k] == theirs[k] for k in ("dataset", "images", "protocol", "maps"))
        if other in beside and not alike:
            raise ValueError(f"{other} was not scored as {folder}: other images or definitions")
        if alike and name not in {"saliency", "centre", "uniform"}:
            found[config.get("name", name)] = theirs["scores"]["run"]
    return found


def _script_data(stages: Sequence[StageFields], cell: int) -> dict[str, Any]:
    """Return what the script needs to show fields through training."""
    return {
        "checkpoints": [f"epoch {epoch}" for epoch in stages[0].checkpoints] if stages else [],
        "colours": SIGNED_COLOURS.ravel().tolist(),
        "measures": UNIT_MEASURES,
        "stages": [stage_as_json(stage, cell) for stage in stages],
    }


def stage_charts(folder: Path, stages: Sequence[StageFields]) -> list[LineChart]:
    """Return a chart per measure: each stage's median over units and its 95 % interval."""
    charts = []
    for measure, title in MEASURES.items():
        lines = []
        for stage in stages:
            if measure in stage.measures:
                found = [bootstrap_interval(values) for values in stage.measures[measure]]
                y, low, high = ([f[i] for f in found] for i in (0, 1, 2))
                lines.append(DataLine(stage.name, stage.checkpoints, y, low, high))
            else:
                y = logged_at_steps(folder, f"rf/{stage.name}/{measure}", stage.steps)
                lines.append(DataLine(stage.name, stage.checkpoints, y))
        if lines and (made := line_chart(title, "epoch", lines)):
            charts.append(made)
    return charts


def stage_as_json(stage: StageFields, cell: int) -> dict[str, Any]:
    """Return a stage as JSON values; NaN becomes null."""
    sprite, size = field_data.sprite_sheet(stage.picture, cell)
    return {
        "name": stage.name,
        "units": stage.units,
        "side": stage.side,
        "cell": size,
        "sprite": webp_data_uri(sprite),
        "peak": _json_numbers(stage.peak, 4),
        "profile": _scaled_curves(stage.radius, stage.profile),
        "sizes": _scaled_curves(stage.sizes.radius, stage.sizes.curve) if stage.sizes else None,
        "measures": {key: _json_numbers(values, 4) for key, values in stage.measures.items()},
        "patches": webp_data_uri(stage.patches) if stage.patches else None,
    }


def _scaled_curves(x: FloatArray, y: FloatArray) -> dict[str, Any]:
    """Return curves (T, U, R), each divided by its unit's largest through training."""
    largest = np.nanmax(np.abs(y), axis=(0, 2), keepdims=True, initial=0)
    return {"x": _json_numbers(x, 4), "y": _json_numbers(y / np.where(largest > 0, largest, 1), 3)}


def _json_numbers(values: Any, digits: int) -> Any:
    """Return nested lists of numbers of so many digits, null for what is not finite."""
    if np.ndim(values):
        return [_json_numbers(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if np.isfinite(values) else None
