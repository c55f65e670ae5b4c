"""Panel of a run's page: histograms of its stages and of macaque V1."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deepsal.runs.run_records import read_json

BAR_WIDTH, BAR_HEIGHT = 12, 60
"""Width of a bar and height of a share of 1, pixels."""


class ShareBars(NamedTuple):
    """Bars of a histogram: left, top, height and share of each, the first three in pixels."""

    name: str
    width: int
    height: int
    bars: list[tuple[int, float, float, float]]


class PropertyHistograms(NamedTuple):
    """Histograms of one property: of V1, then of the stages that have units with a value."""

    title: str
    edges: list[float]
    histograms: list[ShareBars]


def read_v1_panel(folder: Path) -> dict[str, Any]:
    """Return the data of the panel; {} for a run without `v1.json`."""
    result = read_json(folder / "v1.json")
    if not result:
        return {}
    stages = next(iter(result["networks"].values()))
    cells: Mapping[str, Any] = result["cells"]
    histograms = [
        PropertyHistograms(
            cell["title"],
            cell["edges"],
            [_share_bars("macaque V1", cell["counts"])]
            + [
                _share_bars(stage, layer["counts"][name])
                for stage, layer in stages.items()
                if sum(layer["counts"][name])
            ],
        )
        for name, cell in cells.items()
    ]
    return {
        "histograms": histograms,
        "titles": {name: cell["title"] for name, cell in cells.items()},
        "first": next(iter(result["networks"])),
        **result,
    }


def _share_bars(name: str, counts: Sequence[Any]) -> ShareBars:
    shares = [count / sum(counts) for count in counts]
    bars = [
        (i * BAR_WIDTH, round((1 - s) * BAR_HEIGHT, 1), round(s * BAR_HEIGHT, 1), s)
        for i, s in enumerate(shares)
    ]
    return ShareBars(name, len(counts) * BAR_WIDTH, BAR_HEIGHT, bars)
