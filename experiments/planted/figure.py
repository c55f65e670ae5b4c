"""Measure the recovery of planted shapes in noise by the fits and the centre-surround rule.

python experiments/planted/figure.py [--units 60] [--to FOLDER]

Writes expected.csv (a row per shape, size and noise) and figure.png. Needs no data and no training.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from deepsal.rf import fit_field_models, is_centre_surround
from deepsal.rf.measures.centre import locate_centre
from deepsal.rf.measures.profile import FloatArray
from deepsal.statistics import finite_median

PLANTED_SHAPES = ("dog .3", "dog .55", "dog .9", "gaussian", "gabor", "noise")
SIDE_BY_WIDTH = {2: 61, 4: 101, 8: 161}
"""Side of a field in pixels for each width (standard deviation of the centre)."""
NOISE_LEVELS = (0.05, 0.2)
"""Standard deviation at each pixel, of a peak of 1."""
NOISE_GRAINS = (0.0, 1.5)
"""Standard deviation of the Gaussian that smooths the noise, pixels; 0: white."""


def main() -> None:
    """Measure all shapes, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--units", type=int, default=60, help="per cell")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    table = pd.DataFrame(recovery_rows(arguments.units))
    table.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    draw_recovery(table).savefig(arguments.to / "figure.png")
    print(table.groupby("shape", sort=False)[["called", "called_held_out"]].mean())


def recovery_rows(units: int) -> Iterator[dict[str, object]]:
    """Yield the recovery of each shape: medians, half the interquartile range, and shares."""
    for kind, width, noise, grain in product(
        PLANTED_SHAPES, SIDE_BY_WIDTH, NOISE_LEVELS, NOISE_GRAINS
    ):
        random = np.random.default_rng(
            [PLANTED_SHAPES.index(kind), width, int(noise * 100), int(grain)]
        )
        one, other, truth = plant_fields(kind, width, noise, grain, units, random)
        fits = fit_field_models(one, test_field=other)
        place = fits.gaussian[:, 1:3] if kind == "gaussian" else fits.dog[:, 4:6]
        size = fits.gaussian[:, 3] if kind == "gaussian" else fits.dog[:, 1]
        round_one = kind.startswith(("dog", "gaussian"))
        signs = np.where(np.arange(units) % 2, 1, -1)
        yield {
            "shape": kind,
            "width": width,
            "noise": noise,
            "grain": grain,
            "k": np.nanmedian(fits.k),
            "k_spread": np.subtract(*np.nanpercentile(fits.k, [75, 25])) / 2,
            "place_error": finite_median(np.hypot(*(place - truth).T)) if round_one else np.nan,
            "measured_width": np.nanmedian(size) if round_one else np.nan,
            "sign": (locate_centre(one)[2] == signs).mean() if round_one else np.nan,
            "called": is_centre_surround(fit_field_models(one)).mean(),
            "called_held_out": is_centre_surround(fits).mean(),
        }


def plant_fields(
    kind: str, width: int, noise: float, grain: float, units: int, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], FloatArray]:
    """Return two noisy readings (U, n, n) of the same shapes, and their centres (U, 2).

    Half of the units are ON, half OFF; surrounds are 1.7 to 3.2 times as wide as their centre.
    """
    n = SIDE_BY_WIDTH[width]
    at = np.arange(n) - (n - 1) / 2
    clean, truth = np.zeros((units, n, n)), np.zeros((units, 2))
    for unit in range(units if kind != "noise" else 0):
        y, x = random.uniform(-1.5 * width, 1.5 * width, 2)
        truth[unit] = y + (n - 1) / 2, x + (n - 1) / 2
        clean[unit] = (1 if unit % 2 else -1) * _draw_shape(
            kind, at[:, None] - y, at - x, width, random
        )
    readings = [clean + noise * _grainy_noise(clean.shape, grain, random) for _ in range(2)]
    return readings[0].astype(np.float32), readings[1].astype(np.float32), truth


def _draw_shape(
    kind: str, dy: FloatArray, dx: FloatArray, width: int, random: np.random.Generator
) -> FloatArray | float:
    centre = np.exp(-(dy**2 + dx**2) / 2 / width**2)
    if kind.startswith("dog"):
        ratio, k = random.uniform(1.7, 3.2), float(kind.removeprefix("dog "))
        surround = np.exp(-(dy**2 + dx**2) / 2 / (ratio * width) ** 2)
        return np.asarray(centre - k / ratio**2 * surround)
    if kind == "gaussian":
        return np.asarray(centre)
    angle, phase = random.uniform(0, np.pi), random.uniform(0, 2 * np.pi)
    frequency, aspect = random.uniform(0.15, 0.35) / width, random.uniform(0.8, 1.6)
    along = np.cos(angle) * dx + np.sin(angle) * dy
    across = np.cos(angle) * dy - np.sin(angle) * dx
    envelope = np.exp(-(along**2) / 2 / width**2 - across**2 / 2 / (aspect * width) ** 2)
    return np.asarray(envelope * np.cos(2 * np.pi * frequency * along + phase))


def _grainy_noise(size: tuple[int, ...], grain: float, random: np.random.Generator) -> FloatArray:
    noise = random.normal(size=size)
    if not grain:
        return noise
    smooth = gaussian_filter(noise, (0, grain, grain), mode="wrap")
    return np.asarray(smooth / smooth.std())


def draw_recovery(table: pd.DataFrame) -> Figure:
    """Draw the share of each shape that is called centre-surround, and the measured k."""
    figure = Figure(figsize=(8.6, 3.4), dpi=100, layout="constrained", facecolor="white")
    axes = figure.subplots(1, 2)
    for marker, (noise, grain) in zip("os^D", product(NOISE_LEVELS, NOISE_GRAINS), strict=True):
        cells = table[(table["noise"] == noise) & (table["grain"] == grain)]
        means = cells.groupby("shape", sort=False)[["called_held_out", "k"]].mean()
        kind = f"noise {noise:g}, {'white' if not grain else f'grain {grain:g} px'}"
        axes[0].plot(means.index, means["called_held_out"], marker, label=kind, alpha=0.8)
        axes[1].plot(means.index[:4], means["k"][:4], marker, alpha=0.8)
    axes[0].axhline(0.05, color="0.5", lw=0.8, ls="--")
    axes[0].set(ylabel="share called centre-surround", ylim=(-0.03, 1.03))
    for x, k in enumerate((0.3, 0.55, 0.9, 0.0)):
        axes[1].hlines(k, x - 0.3, x + 0.3, color="black", lw=1)
    axes[1].set(ylabel="measured k (line: planted)")
    axes[0].legend(fontsize=8)
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
