"""Search for the cell size of each layer, and sampling until its fields are reliable."""

import math
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Literal

import numpy as np

from deepsal.rf.mapping.noise_correlation import CorrelationSums, NoisePresentation
from deepsal.rf.measures.reliability import pairs_needed

PILOT_ROUNDS = 8
"""Rounds of eight pairs after which a cell is judged."""
ROUND_GROWTH = 1.25
"""Reliability is computed each time that the number of rounds has grown by this factor."""

StopReason = Literal["target", "budget", "silent"]


def add_rounds(
    show: NoisePresentation,
    sums: Mapping[str, CorrelationSums],
    goals: Mapping[str, int],
    deadline: float = math.inf,
) -> None:
    """Add rounds until each layer has as many as its goal, or the time is over."""
    while active := [s for name, s in sums.items() if s.rounds < goals[name]]:
        cell, rounds = min((s.cell, s.rounds) for s in active)
        group = [s for s in active if (s.cell, s.rounds) == (cell, rounds)]
        count = min(show.rounds, min(goals[s.name] for s in group) - rounds)
        shown = show(cell, range(rounds, rounds + count), [s.name for s in group])
        for s in group:
            s.add(shown)
        if monotonic() > deadline:
            return


class CellSearch:
    """Finds a cell for each layer and samples until the target is reached or the budget spent.

    Args:
        show: shows the noise.
        target: median reliability at which a layer stops.
        limit: largest number of rounds per layer and cell.
        deadline: time of `time.monotonic` at which all stop.
    """

    def __init__(self, show: NoisePresentation, target: float, limit: int, deadline: float) -> None:
        self.show, self.target, self.limit, self.deadline = show, target, limit, deadline
        self.stopped: dict[str, StopReason] = {}

    def run(
        self, start: Callable[[str, int], CorrelationSums], choices: Mapping[str, Sequence[int]]
    ) -> tuple[dict[str, CorrelationSums], dict[str, StopReason]]:
        """Return each layer's sums, and why it stopped.

        Args:
            start: makes empty sums for a layer and a cell.
            choices: cells to try per layer.
        """
        chosen: dict[str, CorrelationSums] = {}
        nearest: dict[str, tuple[float, CorrelationSums]] = {}
        for cell in sorted({cell for cells in choices.values() for cell in cells}):
            names = [n for n, cells in choices.items() if cell in cells and n not in chosen]
            group = {name: start(name, cell) for name in names}
            began = monotonic()
            self._advance(group, min(PILOT_ROUNDS, self.limit))
            for name, sums in group.items():
                needed = self._needed(sums)
                if name in self.stopped or needed <= self._affordable(sums.rounds, began):
                    chosen[name] = sums
                elif name not in nearest or needed < nearest[name][0]:
                    nearest[name] = needed, sums
        chosen |= {name: sums for name, (_, sums) in nearest.items() if name not in chosen}
        while active := {n: s for n, s in chosen.items() if n not in self.stopped}:
            for cell in sorted({s.cell for s in active.values()}):
                group = {n: s for n, s in active.items() if s.cell == cell}
                rounds = min(s.rounds for s in group.values())
                self._advance(group, min(self.limit, _next_round_count(rounds)))
            spent = monotonic() > self.deadline
            for name, sums in active.items():
                if spent or sums.rounds >= self.limit:
                    self.stopped.setdefault(name, "budget")
        return chosen, self.stopped

    def _advance(self, group: Mapping[str, CorrelationSums], goal: int) -> None:
        """Sample up to a number of rounds; stop layers that reach the target on the way."""
        while active := {
            n: s for n, s in group.items() if n not in self.stopped and s.rounds < goal
        }:
            until = min(goal, _next_round_count(min(s.rounds for s in active.values())))
            add_rounds(self.show, active, dict.fromkeys(active, until), self.deadline)
            for name, sums in active.items():
                reliability = sums.median_reliability()
                if math.isnan(reliability):
                    self.stopped[name] = "silent"
                elif reliability >= self.target:
                    self.stopped[name] = "target"
            if monotonic() > self.deadline:
                return

    def _needed(self, sums: CorrelationSums) -> float:
        """Return the rounds that the target is predicted to take."""
        reliability = np.array(sums.median_reliability())
        return float(pairs_needed(reliability, sums.rounds, self.target))

    def _affordable(self, rounds: int, began: float) -> float:
        """Return the rounds that the budget leaves, at the pace of these."""
        now = monotonic()
        left = (self.deadline - now) / max(now - began, 1e-9) * rounds
        return min(float(self.limit), rounds + max(left, 0.0))


def _next_round_count(rounds: int) -> int:
    return max(rounds + 1, math.ceil(rounds * ROUND_GROWTH))
