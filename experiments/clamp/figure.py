"""Draw back-projected patterns of VGG16 as He & Pugeault 2018 drew them, in three renderings.

python experiments/clamp/figure.py runs/studies/clamp/claims [--to FOLDER]

The two networks are those of the verdict: the weights that its training started from
(`backbone.weights`), and its best checkpoint. Writes sweep.png (figure 4.6: one unit at
c = 0.5 … 3, three renderings, untrained, original and tuned), grids.png (figures 4.1–4.5: 64 units
per pooling, original and tuned) and expected.csv; and the verdict on P4 and P5 as figure.png and
verdict.csv.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from deepsal.models import STAGES, Backbone, backbone_from_checkpoint, build_backbone
from deepsal.report.figures.claims import draw_claims, verdict_frame
from deepsal.rf.backprojection.clamp import clamp_backprojection
from deepsal.rf.backprojection.rendering import render_clipped, render_scaled, render_wrapped
from deepsal.rf.claims.controls import untrained_copy
from deepsal.rf.measures.profile import field_extent
from deepsal.runs.run_records import read_json

CLAMP_VALUES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
PEAK_GREY = 250
"""Maximum of the pattern at c = 0.5 in grey levels; the shape does not depend on it."""
DISPLAY_METHODS = {"wrapped": render_wrapped, "clipped": render_clipped, "scaled": render_scaled}


def main() -> None:
    """Read the two networks, measure their patterns and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path, help="run folder with verdict.json")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    config = yaml.safe_load((arguments.run / "config.yaml").read_text(encoding="utf-8"))
    options = config["backbone"]
    before = build_backbone(options["name"], options["weights"]).eval()
    after = backbone_from_checkpoint(before, config["ckpt"])
    verdict = read_json(arguments.run / "verdict.json")
    networks = {
        "untrained": untrained_copy(before, seed=0),
        "original": before,
        "tuned": after,
    }
    maps = {name: clamp_sweep(chain_to_pooling(network, 5)) for name, network in networks.items()}
    sweep_table(maps).to_csv(arguments.to / "expected.csv", index=False, float_format="%.6g")
    draw_sweep(maps).savefig(arguments.to / "sweep.png")
    draw_grids(before, after).savefig(arguments.to / "grids.png")
    rows = verdict_frame(verdict["rows"])
    rows.to_csv(arguments.to / "verdict.csv", index=False, float_format="%.4g")
    draw_claims(verdict).savefig(arguments.to / "figure.png")


def chain_to_pooling(network: nn.Module, stage: int) -> list[nn.Module]:
    """Return the chain of modules from the image to pool1 … pool5."""
    return [*(network.get_submodule(name) for name in STAGES[:stage]), nn.MaxPool2d(2)]


def clamp_sweep(chain: Sequence[nn.Module]) -> NDArray[np.float32]:
    """Return the pattern of unit 0 at each value, (6, 3, h, w), computed in double precision."""
    exact = nn.Sequential(*chain).double()
    patterns = np.concatenate([clamp_backprojection(exact, [0], value) for value in CLAMP_VALUES])
    exact.float()
    return patterns


def sweep_table(maps: dict[str, NDArray[np.float32]]) -> pd.DataFrame:
    """Return the maximum, the width and the distance of m(c) from 2c·m(0.5), per network and c."""
    rows = []
    for name, patterns in maps.items():
        widths = field_extent(patterns)
        for c, pattern, width in zip(CLAMP_VALUES, patterns, widths, strict=True):
            away = np.abs(pattern - patterns[0] * (c / CLAMP_VALUES[0])).max() / pattern.max()
            row = {"network": name, "c": c, "maximum": pattern.max(), "width": width}
            rows.append({**row, "away_from_scaled": away})
    return pd.DataFrame(rows)


def draw_sweep(maps: dict[str, NDArray[np.float32]]) -> Figure:
    """Draw the pattern of each network at every c in the three renderings."""
    rows = [(name, way) for name in maps for way in DISPLAY_METHODS]
    figure = Figure(figsize=(8.6, 12.6), dpi=100, layout="constrained", facecolor="white")
    axes = figure.subplots(len(rows), len(CLAMP_VALUES), squeeze=False)
    for line, (name, way) in zip(axes, rows, strict=True):
        grey = np.repeat(maps[name].mean(1, keepdims=True), 3, 1)
        grey *= PEAK_GREY / grey[0].max()
        for axis, image in zip(line, DISPLAY_METHODS[way](grey), strict=True):
            axis.imshow(image, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(f"{name}\n{way}", fontsize=9)
    for axis, c in zip(axes[0], CLAMP_VALUES, strict=True):
        axis.set_title(f"c = {c}", fontsize=9)
    figure.suptitle(
        "pool5, unit 0, mean of the colours: one pattern, three ways to show it",
        fontsize=11,
    )
    return figure


def draw_grids(before: Backbone, after: Backbone) -> Figure:
    """Draw the first 64 units of pool1 … pool5, original and tuned, each scaled to its maximum."""
    figure = Figure(figsize=(8, 19.6), dpi=100, layout="constrained", facecolor="white")
    axes = figure.subplots(5, 2)
    for stage, line in enumerate(axes, 1):
        for axis, (name, network) in zip(
            line, {"original": before, "tuned": after}.items(), strict=True
        ):
            tiles = render_scaled(clamp_backprojection(chain_to_pooling(network, stage), range(64)))
            side = tiles.shape[1]
            grid = tiles.reshape(8, 8, side, side, 3).swapaxes(1, 2).reshape(8 * side, 8 * side, 3)
            axis.imshow(grid, interpolation="antialiased")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"pool{stage}, {name} ({side} px a unit)", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
