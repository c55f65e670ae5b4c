"""Page of a run: one HTML file with all results, which needs no server and no network."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from deepsal import atomic
from deepsal.report.figures.claims import draw_claims
from deepsal.report.page import field_data, v1_panel
from deepsal.report.page.chart import DataLine, LineChart, line_chart
from deepsal.report.page.field_data import FloatArray, StageFields
from deepsal.report.page.gallery import read_gallery, webp_data_uri
from deepsal.report.page.header import read_header
from deepsal.report.page.rendering import render_template
from deepsal.report.page.training_curves import logged_at_steps, training_charts
from deepsal.report.tables.runs import differing_condition
from deepsal.rf import store
from deepsal.rf.claims.rules import CLAIM_STATEMENTS
from deepsal.rf.plot.tiles import SIGNED_COLOURS
from deepsal.runs import score_files
from deepsal.runs.run_records import (
    UNREADABLE_ERRORS,
    read_json,
    read_options,
    warn_unreadable,
)
from deepsal.statistics import finite_median
from deepsal.vocabulary import MEASURES, SCORES, TARGET_SCORES, ScoreEntry

MAX_PAGE_BYTES = 8 * 10**6
"""Largest size of a page; the pictures of units shrink until it fits."""
SPRITE_CELL_SIDES = (96, 64, 48, 32, 24)
UNIT_MEASURES = {
    **MEASURES,
    "opponency": "opponency",
    "surround": "surround index",
    "radius": "preferred disk, radius in px",
    "anisotropy": "anisotropy",
    "polarity": "polarity, 1 ON or −1 OFF",
    "centre_surround": "centre-surround by the rule",
}
"""Labels of the measures in a unit's panel."""

PANEL_WORDS = {
    "similarity": "similarity of fields to those before training",
    "found": "shares of centre-surround units beside the power of the rule",
    "spread": "widths of patterns at a larger clamp value",
    "own unit": "units that prefer their own pattern",
    "inhibited": "units that a pattern inhibits",
}
"""Panels of the figure of a verdict in words, by measure."""


def write_run_page(folder: Path, baseline_runs: Sequence[Path] = ()) -> Path:
    """Write a run's `report.html`, at most 8 MB with default settings.

    Args:
        folder: the run folder; missing parts are left out.
        baseline_runs: more run folders of baselines, besides those in the same parent folder.

    Returns:
        The file.

    Raises:
        FileNotFoundError: `folder` is no run folder.
        ValueError: a baseline was scored on other images or by other definitions.
    """
    if not (folder / "config.yaml").is_file() and not (folder / "fields").is_dir():
        raise FileNotFoundError(
            f"{folder} is no run folder: it holds neither config.yaml nor fields/"
        )
    stages = field_data.read_stage_fields(folder)
    summary = score_files.read_scores(folder) if (folder / "scores.json").is_file() else None
    if summary:
        summary["scores"] |= baseline_scores(folder, baseline_runs)
    parts = {
        "header": read_header(folder),
        "scores": summary,
        "score_tables": _score_tables(summary["scores"]["run"]) if summary else {},
        "curves": training_charts(folder),
        "gallery": read_gallery(folder),
        "verdict": {
            "rows": [],
            "networks": [],
            "left_out": {},
            **read_json(folder / "verdict.json"),
        },
        "claims": CLAIM_STATEMENTS,
        "claims_picture": _claims_picture(folder),
        "claims_panels": _claims_panels(folder),
        "v1": v1_panel.read_v1_panel(folder),
        "stages": stages,
        "missing_fields": store.missing_checkpoints(folder / "fields"),
        "stage_curves": stage_charts(folder, stages),
    }
    for cell_side in SPRITE_CELL_SIDES:
        data = _script_data(stages, cell_side)
        text = render_template("page.html", {**parts, "data": data})
        if len(text.encode()) <= MAX_PAGE_BYTES:
            break
    return atomic.write_text(folder / "report.html", text)


def _claims_picture(folder: Path) -> str:
    """Return the figure of a run's verdict as a data URI; "" without a verdict."""
    verdict = read_json(folder / "verdict.json")
    if not verdict.get("rows"):
        return ""
    picture = BytesIO()
    draw_claims(verdict).savefig(picture, format="webp")
    return webp_data_uri(picture.getvalue())


def _claims_panels(folder: Path) -> list[str]:
    """Return what the figure of a run's verdict shows, in words."""
    measures = {row["measure"] for row in read_json(folder / "verdict.json").get("rows", ())}
    return [words for measure, words in PANEL_WORDS.items() if measure in measures]


def _score_tables(run: Mapping[str, Any]) -> dict[str, dict[str, ScoreEntry]]:
    """Return the scores of a run, per table and title."""
    tables = {"of the prediction": SCORES, "of the search for the target": TARGET_SCORES}
    present = {t: {k: v for k, v in entries.items() if k in run} for t, entries in tables.items()}
    return {title: entries for title, entries in present.items() if entries}


def baseline_scores(folder: Path, baseline_runs: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the scores of baselines (itti, human …) on the test images of a run.

    Args:
        folder: the run folder; baselines in its parent folder that were scored on the same images
            by the same definitions are included, and unreadable ones skipped with a warning.
        baseline_runs: run folders of more baselines.

    Returns:
        `{name of the baseline: {score: mean, low, high, count}}`.

    Raises:
        ValueError: one of `baseline_runs` was scored on other images or by other definitions.
    """
    summary = score_files.read_scores(folder)
    scores: dict[str, Any] = {}
    neighbours = [file.parent for file in sorted(folder.absolute().parent.glob("*/scores.json"))]
    for other in neighbours:
        try:
            scores |= _scores_as_baseline(summary, other)[1]
        except UNREADABLE_ERRORS as error:
            warn_unreadable(other, error)
    for other in baseline_runs:
        key, as_baseline = _scores_as_baseline(summary, other)
        if key:
            value = score_files.read_scores(other).get(key)
            raise ValueError(
                f"{other} was not scored as {folder}: {key} is {value}, not {summary.get(key)}"
            )
        scores |= as_baseline
    return scores


def _scores_as_baseline(
    summary: Mapping[str, Any], other: Path
) -> tuple[str | None, dict[str, Any]]:
    """Return the condition in which a run was scored otherwise, and its scores as a baseline.

    The scores are {} for such a run and for a network that learns.
    """
    other_summary, config = score_files.read_scores(other), read_options(other)
    key = differing_condition(summary, other_summary)
    network = config.get("network", {}).get("name", "saliency")
    if key or network in {"saliency", "centre", "uniform"}:
        return key, {}
    return None, {config.get("name", network): other_summary["scores"]["run"]}


def stage_charts(folder: Path, stages: Sequence[StageFields]) -> list[LineChart]:
    """Return a chart per measure: each stage's median over units and its 95 % interval."""
    charts = []
    for measure, title in MEASURES.items():
        lines = []
        for stage in stages:
            if measure in stage.measures:
                median, low, high, _ = zip(*stage.medians(measure), strict=True)
                ceiling = [
                    finite_median(values) for values in stage.measures.get(f"{measure}_ceiling", ())
                ]
                lines.append(DataLine(stage.name, stage.epochs, median, low, high, ceiling))
            else:
                logged = logged_at_steps(folder, f"rf/{stage.name}/{measure}", stage.steps)
                lines.append(DataLine(stage.name, stage.epochs, logged))
        if lines and (chart := line_chart(title, "epoch", lines)):
            charts.append(chart)
    return charts


def stage_as_json(stage: StageFields, cell_side: int) -> dict[str, Any]:
    """Return a stage as JSON values; NaN becomes null.

    Args:
        stage: the fields.
        cell_side: largest side of a unit's picture, pixels.
    """
    sprite, size = field_data.sprite_sheet(stage.picture, cell_side)
    return {
        "name": stage.name,
        "units": stage.units,
        "side": stage.side,
        "cell": size,
        "sprite": webp_data_uri(sprite),
        "peak": _json_numbers(stage.peak, 4),
        "profile": _scaled_curves(stage.profile_radius, stage.profile),
        "size_tuning": {
            drive: _scaled_curves(sizes.radius, curves)
            for drive, curves in (("gratings", sizes.gratings), ("disks", sizes.disks))
        }
        if (sizes := stage.size_tuning)
        else None,
        "measures": {
            key: _json_numbers(values, 4)
            for key, values in stage.measures.items()
            if key.removesuffix("_error") in UNIT_MEASURES and key != "centre_surround_error"
        },
        "patches": webp_data_uri(stage.patches) if stage.patches else None,
        "reliability": _reliability_as_json(stage),
    }


def _reliability_as_json(stage: StageFields) -> dict[str, Any]:
    """Return the reliability of each field, (T, U): short, in words, and whether it is faded."""
    of = stage.reliability
    indices = [[(t, u) for u in range(len(stage.units))] for t in range(len(stage.epochs))]
    warnings = [[of.warning(*at).replace("\n", " ") for at in row] for row in indices]
    captions = [[of.caption(*at) for at in row] for row in indices]
    return {
        "short": [[caption.removeprefix("reliability ") for caption in row] for row in captions],
        "words": [
            [f"{w} ({c})" if w else c for w, c in zip(*both, strict=True)]
            for both in zip(warnings, captions, strict=True)
        ],
        "faded": [[bool(warning) for warning in row] for row in warnings],
    }


def _script_data(stages: Sequence[StageFields], cell_side: int) -> dict[str, Any]:
    return {
        "checkpoints": [f"epoch {epoch}" for epoch in stages[0].epochs] if stages else [],
        "colours": SIGNED_COLOURS.ravel().tolist(),
        "measures": UNIT_MEASURES,
        "stages": [stage_as_json(stage, cell_side) for stage in stages],
    }


def _scaled_curves(x: FloatArray, y: FloatArray) -> dict[str, Any]:
    """Return curves (T, U, R), each divided by its unit's largest |value| through training."""
    largest = np.nanmax(np.abs(y), axis=(0, 2), keepdims=True, initial=0)
    return {"x": _json_numbers(x, 4), "y": _json_numbers(y / np.where(largest > 0, largest, 1), 3)}


def _json_numbers(values: Any, digits: int) -> Any:
    """Return nested lists of numbers with so many significant digits; null where not finite."""
    if np.ndim(values):
        return [_json_numbers(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if np.isfinite(values) else None
