"""Figure and table of a verdict: change of fields and controls, P3 with its power, P4 and P5."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepsal.rf.claims.change_rules import CHANGED_SIMILARITY, UNCHANGED_SIMILARITY
from deepsal.rf.claims.measurements import BACKGROUNDS
from deepsal.vocabulary import STAGES

CONTROL_STYLES = {
    "bn_only": ("batch norm re-estimated, nothing trained", "#8d99ae"),
    "displaced": ("displaced at random as far as tuning", "#e09f3e"),
    "weights_only": ("tuned weights, batch norm as before", "#5fa55a"),
    "weights_reestimated": ("tuned weights, batch norm re-estimated", "#2a9d8f"),
    "shuffled_fixations": ("trained on shuffled fixations", "#9e2a2b"),
    "other_task": ("trained on another task (edges)", "#7b5ea7"),
    "untrained": ("untrained", "#c9c9c9"),
}
"""Label and colour of each control."""
TUNED_COLOUR = "#1d3557"
BACKGROUND_NAMES = {"natural": "images", "grey": "grey"}
PATTERN_TITLES = {
    "spread": "P4: width of patterns,\nc = 3 over c = .5",
    "own unit": "P5: share of units that\nprefer their own pattern",
    "inhibited": "P5: share of other units\nthat a pattern inhibits",
}
"""Titles of the measures of P4 and P5."""
SIDE_STEP = 0.1
"""Distance of the marks of two controls."""

Rows = Sequence[Mapping[str, Any]]


def draw_claims(verdict: Mapping[str, Any]) -> Figure:
    """Draw a verdict, a panel for each thing that it measured.

    A panel for each background of the noise: the median similarity of the fields after training to
    those before, corrected for noise, of the tuned network (with its 95 % interval) and of each
    control. P3: the share of reliable units that the calibrated rule calls centre-surround, before
    a bar for the share of planted surrounds of k = .55 that it finds in the same noise. P4 and P5:
    how much wider a back-projected pattern is at a larger value; by stage, the share of units that
    prefer their own pattern, and the share of the others that a pattern inhibits.

    Args:
        verdict: content of `verdict.json`. The figure of a verdict without any of these is empty.
    """
    rows: Rows = verdict["rows"]
    panels: list[tuple[float, str, Callable[[Axes], None]]] = []
    for background in BACKGROUNDS:
        here = [row for row in rows if row["background"] == background]
        if any(row["measure"] == "similarity" for row in here):
            title = f"noise on {BACKGROUND_NAMES[background]}"
            panels.append((4, title, partial(_draw_similarities, rows=here)))
    if any(row["measure"] == "found" for row in rows):
        draw_shares = partial(_draw_shares, rows=rows, networks=verdict["networks"])
        panels.append((3.2, "units called centre-surround", draw_shares))
    for measure, title in PATTERN_TITLES.items():
        if here := [row for row in rows if row["measure"] == measure]:
            draw_patterns = partial(_draw_patterns, rows=rows, measure=measure)
            panels.append((1.5 + 0.4 * len(here), title, draw_patterns))
    widths = [width for width, _, _ in panels]
    size = (max(sum(widths), 6), 4.4)
    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    if not panels:
        return figure
    entries: dict[str, Any] = {}
    all_axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for axes, (_, title, draw) in zip(all_axes, panels, strict=True):
        draw(axes)
        if axes is not all_axes[0]:
            axes.set_ylabel("")
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    place: Any = "outside lower center"
    columns = 3 if sum(widths) > 9 else 2
    figure.legend(
        [*entries.values()], [*entries], loc=place, ncols=columns, fontsize=8, frameon=False
    )
    return figure


def verdict_frame(rows: Rows) -> pd.DataFrame:
    """Return the rows of a verdict as a table, one column per number."""
    numbers = ("reference_estimate", "p", "estimate", "low", "high")
    table = pd.DataFrame([{**row, **row["effect"]} for row in rows]).drop(columns="effect")
    return table.astype(dict.fromkeys(numbers, float))


def _draw_similarities(axes: Axes, rows: Rows) -> None:
    tuned = {row["stage"]: row["effect"] for row in rows if row["measure"] == "similarity"}
    stages = [stage for stage in STAGES if stage in tuned]
    x = np.arange(len(stages))
    _draw_intervals(axes, x, [tuned[stage] for stage in stages])
    for name, (label, colour), shift in _controls(rows, "more change than"):
        of = {
            row["stage"]: _number(row["reference_estimate"])
            for row in rows
            if row["measure"] == "more change than" and row["reference"] == name
        }
        values = [of.get(stage, np.nan) for stage in stages]
        axes.plot(x + shift, values, "D", ms=4, c=colour, label=label)
    axes.axhline(0, color="0.85", lw=0.8, zorder=0)
    for claim, threshold, side in (
        ("P1", UNCHANGED_SIMILARITY, "above"),
        ("P2", CHANGED_SIMILARITY, "below"),
    ):
        at = [i for i, s in enumerate(stages) if any(_is(row, claim, s) for row in rows)]
        if at:
            start, end = at[0] - 0.4, at[-1] + 0.4
            axes.hlines(threshold, start, end, color="0.6", ls=":", lw=1)
            style: Any = {"fontsize": 7, "c": "0.4", "va": "top", "ha": "center"}
            beside = at[0] + 0.5  # the marks of a stage stand above its name
            axes.text(beside, threshold - 0.02, f"{claim}: {side}", **style)
    axes.set_xticks(x, stages)
    axes.set_ylabel("similarity to before training,\ncorrected for noise", fontsize=8)


def _draw_shares(axes: Axes, rows: Rows, networks: Rows) -> None:
    of_tuned = [row for row in rows if row["measure"] == "found"]
    for x, row in enumerate(of_tuned):
        place = row["stage"], row["background"]
        power = [
            of["rule"]["power"]["0.55"]
            for of in networks
            if of["rule"]
            and (of["stage"], of["background"]) == place
            and of["network"].startswith("tuned")
        ]
        if power:
            label = "planted surrounds (k = .55) that the rule finds"
            axes.bar(x, np.mean(power), 0.8, color="0.92", label=label, zorder=0)
        _draw_intervals(axes, np.array([x]), [row["effect"]])
        here = [r for r in rows if (r["stage"], r["background"]) == place]
        _draw_references(axes, x, here, "more than")
    names = [f"{row['stage']}\n{BACKGROUND_NAMES[row['background']]}" for row in of_tuned]
    axes.set_xticks(range(len(of_tuned)), names)
    axes.set_ylim(-0.03, 1.03)


def _draw_patterns(axes: Axes, rows: Rows, measure: str) -> None:
    of_tuned = [row for row in rows if row["measure"] == measure]
    of_tuned = sorted(of_tuned, key=lambda row: STAGES.index(row["stage"]))
    _draw_intervals(axes, np.arange(len(of_tuned)), [row["effect"] for row in of_tuned])
    for x, row in enumerate(of_tuned):
        here = [r for r in rows if r["stage"] == row["stage"]]
        _draw_references(axes, x, here, f"more {measure} than")
        before = _number(row["reference_estimate"])
        axes.hlines(before, x - 0.4, x + 0.4, color="black", lw=1, label="before training")
    axes.set_xticks(range(len(of_tuned)), [row["stage"] for row in of_tuned])
    axes.set_xlim(-0.6, len(of_tuned) - 0.4)
    axes.set_ylim(-0.03, 1.05)


def _draw_references(axes: Axes, x: int, rows: Rows, measure: str) -> None:
    """Draw the shares of controls, and of the network before training, beside the tuned one's."""
    shares = {
        row["reference"]: _number(row["reference_estimate"])
        for row in rows
        if row["measure"] == measure
    }
    for name, (label, colour), shift in _controls(rows, measure):
        axes.plot(x + shift, shares[name], "D", ms=4, c=colour, label=label)
    before = shares.get("before", np.nan)
    axes.hlines(before, x - 0.4, x + 0.4, color="black", lw=1, label="before training")


def _draw_intervals(axes: Axes, x: NDArray[Any], effects: Rows) -> None:
    values = [[_number(effect[key]) for effect in effects] for key in ("estimate", "low", "high")]
    estimate, low, high = np.array(values)
    ends = np.nan_to_num(np.stack([estimate - low, high - estimate])).clip(0)
    style: Any = {"fmt": "o", "ms": 5, "capsize": 2, "zorder": 3, "c": TUNED_COLOUR}
    axes.errorbar(x, estimate, ends, label="tuned, 95 % interval", **style)


def _controls(rows: Rows, measure: str) -> list[tuple[str, tuple[str, str], float]]:
    """Return name, label with colour, and shift of the mark of each control that is compared.

    No mark is shifted by 0, where the mark of the tuned network is.
    """
    present = {row["reference"] for row in rows if row["measure"] == measure}
    names = [name for name in CONTROL_STYLES if name in present]
    return [
        (name, CONTROL_STYLES[name], SIDE_STEP * (number - len(names) // 2 + 0.5))
        for number, name in enumerate(names)
    ]


def _is(row: Mapping[str, Any], claim: str, stage: str) -> bool:
    return bool(row["claim"] == claim and row["stage"] == stage)


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
