"""Measure the reliability of reverse correlation, side by side with gradients.

python experiments/reliability/measure.py --data FOLDER [--part PART …] [--vgg16 FILE --to FOLDER]

EfficientNet-Lite0 with ImageNet weights, or VGG16 with those of a file; OSIE at 192x256. Each part
writes one table, PART.csv: `reach` (default search until a target), `curve` (reliability against
pairs), `gradients` and `amplitude` (mean gradients, and reverse correlation against them), `retest`
(measures of fields from two seeds). The figure needs `curve` and `amplitude`. Times are of the
process's CPU.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from deepsal.data import SaliencyDataModule, osie
from deepsal.models import STAGES, build_backbone
from deepsal.rf import fit_field_models, map_receptive_fields, measure_geometry
from deepsal.rf.mapping.cell_noise import cell_sizes
from deepsal.rf.mapping.field_sampling import field_sampling
from deepsal.rf.mapping.noise_fields import NoiseFields
from deepsal.rf.mapping.reverse_correlation import (
    GREY_AMPLITUDE,
    IMAGE_AMPLITUDE,
    MID_GREY,
    reverse_correlation,
)
from deepsal.rf.measures.centre import locate_centre
from deepsal.rf.measures.profile import field_extent
from deepsal.rf.measures.reliability import (
    corrected_similarity,
    pairs_needed,
    spearman_brown,
    split_half_reliability,
)
from deepsal.rf.measures.shape import anisotropy, centre_surround_index

FIGURE = Path(__file__).parents[2] / "docs" / "reliability.png"
SIZE = (192, 256)
NOISE_IMAGE_COUNT = 344
"""Images below reverse correlation; gradients are computed on the other 256."""
UNREACHABLE = 0.99999
"""A target that no layer reaches, so that all pairs are used."""
CELLS = {
    "images": dict(zip(STAGES, (1, 2, 4, 16, 32), strict=True)),
    "grey": dict(zip(STAGES, (1, 2, 4, 8, 16), strict=True)),
}
LARGEST_PAIRS = dict(zip(STAGES, (32, 128, 512, 2048, 2048), strict=True))
AMPLITUDES = (0.01, 0.02, 0.05, 0.1, 0.2)
AMPLITUDE_PAIRS = {"conv1": 32, "conv2": 240, "conv3": 480}
GRADIENT_UNITS = dict(zip(STAGES, (16, 16, 16, 8, 8), strict=True))
GRADIENT_PATCHES = dict(zip(STAGES, (256, 256, 256, 128, 128), strict=True))
BLOCKS = 8


def main() -> None:
    """Measure the parts that are asked for, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", nargs="+", default=[*PARTS, "figure"])
    parser.add_argument(
        "--vgg16", metavar="FILE", help="weights; for the parts reach and amplitude"
    )
    parser.add_argument("--to", type=Path, default=Path(__file__).parent)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    arguments = parser.parse_args()
    tables = {part: arguments.to / f"{part}.csv" for part in PARTS}
    if {*arguments.part} & {*PARTS}:
        if arguments.vgg16:
            network = build_backbone("vgg16", arguments.vgg16).eval()
        else:
            network = build_backbone("tf_efficientnet_lite0", "efficientnet_lite0").eval()
        splits = SaliencyDataModule(osie(arguments.data), SIZE, flip=0).images
        samples = [splits[split] for split in ("train", "val")]
        images = torch.stack([part[i].image for part in samples for i in range(len(part))])
    for part in [part for part in PARTS if part in arguments.part]:
        rows = []
        for row in PARTS[part](network, images):
            rows.append(row)
            print(part, row, flush=True)
            pd.DataFrame(rows).to_csv(tables[part], index=False, float_format="%.4g")
    if "figure" in arguments.part:
        curve, amplitude = (pd.read_csv(tables[part]) for part in ("curve", "amplitude"))
        draw_reliability(curve, amplitude).savefig(arguments.figure)


def reach_rows(network: nn.Module, images: Tensor) -> Iterator[dict[str, Any]]:
    """Yield what the default search reaches, at which cell, in how many pairs and seconds."""
    calls: tuple[tuple[str, tuple[str, ...], float, int], ...] = (
        ("images", STAGES[:4], 0.95, 2048),
        ("images", STAGES[4:], 0.8, 4096),
        ("grey", STAGES, 0.9, 2048),
    )
    for background, layers, target, pairs in calls:
        began = time.process_time(), time.perf_counter()
        fields = reverse_correlation(
            network,
            layers,
            SIZE,
            images if background == "images" else MID_GREY,
            target=target,
            pairs=pairs,
        )
        spent = time.process_time() - began[0], time.perf_counter() - began[1]
        for layer in layers:
            yield {
                "background": background,
                "target": target,
                "largest_pairs": pairs,
                "stage": layer,
                "units": len(fields[layer].units),
                "cell": fields[layer].cell,
                "pairs": fields[layer].pairs,
                "positions": fields[layer].positions,
                "reliability": fields[layer].median,
                "stopped": fields[layer].stopped,
                "call_cpu_s": spent[0],
                "call_wall_s": spent[1],
            }


def curve_rows(network: nn.Module, images: Tensor) -> Iterator[dict[str, Any]]:
    """Yield the reliability of each stage against pairs, at a fixed cell, one stage per call."""
    for background, layer in ((b, s) for b in CELLS for s in STAGES):
        known = {layer: measure_geometry(network, layer)}
        pairs = 8
        while pairs <= LARGEST_PAIRS[layer]:
            began = time.process_time()
            fields = reverse_correlation(
                network,
                [layer],
                SIZE,
                images if background == "images" else MID_GREY,
                target=UNREACHABLE,
                pairs=pairs,
                cells={layer: [CELLS[background][layer]]},
                known=known,
            )[layer]
            yield {
                "background": background,
                "amplitude": IMAGE_AMPLITUDE if background == "images" else GREY_AMPLITUDE,
                "stage": layer,
                "units": len(fields.units),
                "cell": fields.cell,
                "pairs": pairs,
                "reliability": fields.median,
                "quartile": float(np.nanquantile(fields.reliability, 0.25)),
                "cpu_s": time.process_time() - began,
            }
            pairs *= 4


def gradient_rows(network: nn.Module, images: Tensor) -> Iterator[dict[str, Any]]:
    """Yield the reliability and the price of mean gradients, averaged over the noise's cells."""
    for layer in STAGES:
        cell = CELLS["images"][layer]
        like = _measure(network, layer, images, IMAGE_AMPLITUDE, BLOCKS, cell)
        patches = GRADIENT_PATCHES[layer]
        blocks, seconds = _gradient_blocks(network, layer, like, images)
        reliability = float(np.nanmedian(split_half_reliability(blocks)))
        yield {
            "stage": layer,
            "cell": like.cell,
            "units": blocks.shape[1],
            "patches": patches,
            "reliability": reliability,
            "patches_for_90": float(pairs_needed(np.array(reliability), patches, 0.9)),
            "cpu_s_per_unit_and_patch": seconds / blocks.shape[1] / patches,
            **{f"r{n}": float(spearman_brown(np.array(reliability), n / patches)) for n in (4, 8)},
        }


def amplitude_rows(network: nn.Module, images: Tensor) -> Iterator[dict[str, Any]]:
    """Yield the agreement of reverse correlation with mean gradients on other images."""
    for layer, pairs in AMPLITUDE_PAIRS.items():
        gradient, cell = None, cell_sizes(measure_geometry(network, layer), SIZE)[0]
        for amplitude in AMPLITUDES:
            fields = _measure(network, layer, images, amplitude, pairs, cell)
            if gradient is None:
                gradient, _ = _gradient_blocks(network, layer, fields, images)
            blocks = fields.blocks[:, : gradient.shape[1]]
            raw, corrected, _ = corrected_similarity(gradient, blocks)
            yield {
                "stage": layer,
                "amplitude": amplitude,
                "cell": fields.cell,
                "pairs": fields.pairs,
                "patches": GRADIENT_PATCHES[layer],
                "reliability": float(np.nanmedian(split_half_reliability(blocks))),
                "gradient_reliability": float(np.nanmedian(split_half_reliability(gradient))),
                "correlation": float(np.nanmedian(raw.value)),
                "corrected": float(np.nanmedian(corrected.value)),
                "corrected_least": float(np.nanmin(corrected.value)),
                "error": float(np.nanmedian(corrected.error)),
                "gain": float(np.nanmedian(relative_gain(gradient, blocks))),
                "noise_left": float(np.mean(fields.gain)),
            }


def retest_rows(network: nn.Module, images: Tensor) -> Iterator[dict[str, Any]]:
    """Yield how measures of fields repeat with another seed on other images."""
    half = len(images) // 2
    for target in (0.5, 0.9):
        layers = STAGES[:4]
        tests = [
            reverse_correlation(
                network, layers, SIZE, part, target=target, pairs=4096, seed=seed, cells=cells
            )
            for seed, part in enumerate((images[:half], images[half:]))
            for cells in [{layer: [CELLS["images"][layer]] for layer in layers}]
        ]
        for layer in layers:
            one, other = (field_measures(test[layer]) for test in tests)
            row = {"target": target, "stage": layer, "cell": tests[0][layer].cell}
            row |= {"units": len(tests[0][layer].units)}
            row |= {"reliability": float(np.mean([test[layer].median for test in tests]))}
            for name in ("extent", "k", "csi", "anisotropy"):
                valid = np.isfinite(one[name]) & np.isfinite(other[name])
                row[name] = spearmanr(one[name][valid], other[name][valid]).statistic
                row[f"{name}_units"] = int(valid.sum())
            valid = np.isfinite(one["polarity"] * other["polarity"])
            row["polarity"] = float((one["polarity"] == other["polarity"])[valid].mean())
            yield row


def field_measures(fields: NoiseFields) -> dict[str, NDArray[np.float64]]:
    """Measure fields on their own samples; extents are in pixels of the image."""
    return {
        "extent": field_extent(fields.field) * fields.step,
        "k": fit_field_models(fields.field).k,
        "csi": centre_surround_index(fields.field),
        "anisotropy": anisotropy(fields.field),
        "polarity": locate_centre(fields.field)[2],
    }


def patch_mean_blocks(
    network: nn.Module,
    layer: str,
    like: NoiseFields,
    images: Tensor,
    units: int,
    patches: int,
    method: str = "gradient",
    samples: int = 32,
) -> tuple[NDArray[np.float32], float]:
    """Return mean fields as reverse correlation would see them, (8, U, 3, h, w), and CPU seconds.

    One random position per image, the same for all units, from the positions of reverse
    correlation. The means are blurred by the triangle of the noise's cell, and sampled alike.

    Args:
        network: in eval mode.
        layer: dotted name.
        like: fields of the layer from reverse correlation.
        images: at least `patches`.
        units: the first U channels.
        patches: per unit, in all eight blocks.
        method: see `map_receptive_fields`.
        samples: likewise.
    """
    geometry = like.geometry
    shape = tuple(-(-s // t) for s, t in zip(SIZE, geometry.stride, strict=True))
    at = field_sampling(geometry, SIZE, (shape[0], shape[1]), like.cell, None, "inside")
    random = np.random.default_rng(0)
    count = patches // BLOCKS
    extent = (like.field.shape[-1] - 1) * like.step + 1
    window = None if like.whole else extent + 2 * like.cell
    blocks, began = [], time.process_time()
    for block in range(BLOCKS):
        rows, columns = (
            random.integers(axis.first, axis.first + axis.count, count)
            for axis in (at.rows, at.columns)
        )
        places = np.stack([np.arange(count), rows, columns], -1)
        fields = map_receptive_fields(
            network,
            layer,
            images[block * count : (block + 1) * count],
            np.tile(places, (units, 1, 1)),
            range(units),
            geometry,
            window,
            method,
            samples,
        )
        blocks.append(fields.field)
    seconds = time.process_time() - began
    return sample_like(np.stack(blocks), like), seconds


def sample_like(field: NDArray[np.float32], like: NoiseFields) -> NDArray[np.float32]:
    """Blur fields (..., h, w) by the triangle of a noise cell, and sample them as `like` is."""
    geometry, cell = like.geometry, like.cell
    assert geometry.size
    weights = np.maximum(0, 1 - np.abs(np.arange(1 - cell, cell)) / cell) / cell
    for axis in (0, 1):
        side = field.shape[axis - 2]
        start = (geometry.size[axis] - side) // 2 - geometry.offset[axis]
        at = like.origin[axis] - start + np.arange(like.field.shape[axis - 2]) * like.step
        lags = at[:, None] - np.arange(side) + cell - 1
        inside = (lags >= 0) & (lags < len(weights))
        matrix = np.where(inside, weights[lags.clip(0, len(weights) - 1)], 0).astype(field.dtype)
        field = np.moveaxis(np.moveaxis(field, axis - 2, -1) @ matrix.T, -1, axis - 2)
    return field


def relative_gain(
    gradient: NDArray[np.float32], blocks: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return ⟨r, g⟩ / ⟨g, g⟩ of fields of blocks; gradients meet only those of other blocks."""
    g, r = (b.reshape(BLOCKS, b.shape[1], -1).astype(np.float64) for b in (gradient, blocks))
    both = (g.mean(0) * r.mean(0)).sum(1)
    own = np.square(g.sum(0)).sum(1) - np.square(g).sum((0, 2))
    return np.asarray(both / (own / (BLOCKS * (BLOCKS - 1))))


def draw_reliability(curve: pd.DataFrame, amplitude: pd.DataFrame) -> Figure:
    """Draw reliability against pairs, and shape and gain against amplitude."""
    figure = Figure(figsize=(10, 3.2), layout="constrained", dpi=128)
    pairs, shape, gain = figure.subplots(1, 3)
    for number, stage in enumerate(STAGES):
        for background, style in (("images", "-"), ("grey", ":")):
            of = curve[(curve["stage"] == stage) & (curve["background"] == background)]
            label = stage if style == "-" else None
            pairs.plot(
                of["pairs"], of["reliability"], f"{style}o", ms=3, c=f"C{number}", label=label
            )
        of = amplitude[amplitude["stage"] == stage]
        if len(of):
            shape.errorbar(
                of["amplitude"], of["corrected"], of["error"], fmt="-o", ms=3, c=f"C{number}"
            )
            gain.plot(of["amplitude"], of["gain"], "-o", ms=3, c=f"C{number}")
    pairs.axhline(0.9, c="0.7", lw=0.8, zorder=0)
    pairs.set(xscale="log", xlabel="pairs of noise images", ylabel="median reliability")
    pairs.set(ylim=(-0.05, 1.03), title="— OSIE images   ··· grey")
    pairs.legend(fontsize=7, frameon=False)
    shape.set(xscale="log", xlabel="amplitude of the noise", title="shape")
    shape.set(ylabel="correlation with the mean gradient,\ncorrected for noise", ylim=(None, 1.03))
    gain.set(xscale="log", xlabel="amplitude of the noise", title="gain")
    gain.set(ylabel="gain relative to the mean gradient", ylim=(0, None))
    for axes in (pairs, shape, gain):
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (shape, gain):
        axes.set_xticks(AMPLITUDES, [f"{a:g}" for a in AMPLITUDES], minor=False)
        axes.minorticks_off()
    return figure


def _gradient_blocks(
    network: nn.Module, layer: str, like: NoiseFields, images: Tensor
) -> tuple[NDArray[np.float32], float]:
    counts = GRADIENT_UNITS[layer], GRADIENT_PATCHES[layer]
    return patch_mean_blocks(network, layer, like, images[NOISE_IMAGE_COUNT:], *counts)


def _measure(
    network: nn.Module, layer: str, images: Tensor, amplitude: float, pairs: int, cell: int
) -> NoiseFields:
    return reverse_correlation(
        network,
        [layer],
        SIZE,
        images[:NOISE_IMAGE_COUNT],
        amplitude=amplitude,
        target=UNREACHABLE,
        pairs=pairs,
        cells={layer: [cell]},
    )[layer]


PARTS: dict[str, Callable[[nn.Module, Tensor], Iterator[dict[str, Any]]]] = {
    "reach": reach_rows,
    "curve": curve_rows,
    "gradients": gradient_rows,
    "amplitude": amplitude_rows,
    "retest": retest_rows,
}

if __name__ == "__main__":
    main()
