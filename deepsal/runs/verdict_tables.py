"""Verdict on the claims in the terminal: its rows, their notes, and the power of P3."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from deepsal.rf.claims.calibration import PLANTED_SURROUNDS, RIVAL_SHAPES
from deepsal.rf.claims.rules import CLAIM_STATEMENTS, ClaimRow
from deepsal.runs.control_runs import TUNED
from deepsal.statistics import Interval


def verdict_table(rows: Sequence[ClaimRow]) -> Table:
    """Return the rows that are decided, and that of P4, for 80 columns."""
    shown = [row for row in rows if row.outcome or row.claim == "P4"]
    noise = ["noise on"] if any(row.background for row in shown) else []
    table = _table("The claims", ("", "stage", *noise, "measure", "effect [95 %]", "n", ""))
    for row in shown:
        place = [row.claim, row.stage, *([row.background] if noise else []), row.measure]
        table.add_row(*place, _format_interval(row.effect), str(row.effect.count), row.outcome)
    return table


def power_table(networks: Sequence[Mapping[str, Any]]) -> Table:
    """Return what the rule of P3 finds among planted fields in the noise of tuned networks.

    Each row has means over the seeds.
    """
    planted = [f"k {k:g}" for k in PLANTED_SURROUNDS]
    table = _table(
        "Planted fields that the rule of P3 calls centre-surround, in the tuned network's noise",
        ("stage", "noise on", *planted, *RIVAL_SHAPES, "reliability"),
    )
    rates: dict[tuple[str, str], list[list[float]]] = {}
    for of in networks:
        if (rule := of["rule"]) and of["network"].startswith(TUNED):
            numbers = [*rule["power"].values(), *rule["false_alarms"].values(), of["reliability"]]
            rates.setdefault((of["stage"], of["background"]), []).append(numbers)
    for place, of_seeds in rates.items():
        table.add_row(*place, *(f"{mean:.2f}" for mean in np.mean(of_seeds, axis=0)))
    return table


def print_verdict(
    rows: Sequence[ClaimRow],
    networks: Sequence[Mapping[str, Any]],
    left_out: Mapping[str, str] | None = None,
    console: Console | None = None,
) -> None:
    """Print the verdict, the statement of each claim, the notes, and the power of P3.

    Args:
        rows: of the verdict.
        networks: from `describe_networks`.
        left_out: `{claim: sentence}` of claims that are not decided.
        console: to print on.
    """
    console = console or Console(highlight=False)
    console.print(verdict_table(rows))
    for claim in dict.fromkeys(row.claim for row in rows):
        console.print(f"{claim}: {CLAIM_STATEMENTS[claim]}")
    for row in rows:
        if row.note and (row.outcome or row.claim == "P4"):
            place = (row.claim, row.stage, row.background or row.measure)
            of = " ".join(part for part in place if part)
            console.print(f"{of}: {row.note}.")
    for sentence in (left_out or {}).values():
        console.print(f"{sentence}.")
    table = power_table(networks)
    if table.row_count:
        console.print(table)
    more = ["every control"]
    more += ["reliability", "spread"] if networks else []
    more += ["CKA", "displacement"] if any(row.measure == "cka" for row in rows) else []
    console.print(f"verdict.json also has {', '.join(more)}.")


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=SIMPLE, title_style="bold", title_justify="left")
    table.padding = 0
    table.pad_edge = False
    for column in columns:
        words = column in ("", "stage", "noise on", "measure")
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    return table


def _format_interval(effect: Interval) -> str:
    estimate = "n.d." if isnan(effect.estimate) else f"{effect.estimate:.2f}"  # not determined
    return estimate if isnan(effect.low) else f"{estimate} [{effect.low:.2f}, {effect.high:.2f}]"
