"""Pictures of stored fields: a grid per checkpoint, and what takes all checkpoints."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deepsal.rf import store
from deepsal.rf.mapping.gradient_fields import Fields
from deepsal.rf.measures import profile
from deepsal.rf.plot import grid, sheets

STRIPS = 12
ROWS = 8
AROUND = 1.25
LARGEST = 129
SMALL, WEBP = 72, 16383


def grids(
    folder: Path, found: Mapping[str, Fields], file: Path, degree: float | None
) -> dict[str, Path]:
    """Draw one grid per stage and source at one checkpoint, `{"rf/conv4/fixed": picture}`.

    Args:
        folder: the run folder.
        found: `{"conv4/fixed": fields}`.
        file: where they are stored.
        degree: pixels per degree of visual angle, where known.
    """
    about = store.about(file)
    pictures = {}
    for name, fields in found.items():
        stage, source = name.split("/")
        title = f"{stage}, {_spoken(file.stem)}: {_what(about, source)}"
        sigma = about["stages"][stage]["sigma"]
        figure = grid.grid(fields.field, fields.units.tolist(), title, sigma, degree)
        pictures[f"rf/{name}"] = _save(figure, folder, f"{stage}-{source}/{file.stem}")
    return pictures


def evolution(folder: Path, stage: str, source: str, degree: float | None) -> dict[str, Path]:
    """Draw a stage's first units through training, and their radial profiles at the end."""
    last = store.checkpoints(folder / "fields")[-1]
    units = store.load(last, f"{stage}/{source}").units[:STRIPS].tolist()
    found = store.evolution(folder / "fields", f"{stage}/{source}", units)
    about = store.about(last)
    sigma, what = about["stages"][stage]["sigma"], _what(about, source)
    headings = [_spoken(checkpoint) for checkpoint in found.checkpoints]
    strips = sheets.evolution(found.field, units, headings, f"{stage}: {what}", sigma, degree)
    radius, means = profile.radial_profile(profile.smoothed(found.field[-1], sigma))
    lines = sheets.profiles(means, radius, units, f"{stage}, {headings[-1]}: {what}", degree)
    return {
        f"rf/{stage}/evolution": _save(strips, folder, f"{stage}-evolution"),
        f"rf/{stage}/profile": _save(lines, folder, f"{stage}-profile"),
    }


def sheet_of(
    folder: Path, stage: str, image: Callable[[int], Tensor], degree: float | None
) -> dict[str, Path]:
    """Draw the patches that excite a stage's first units most at the last checkpoint.

    Leaves those of all its units, small, a row per unit, as `figures/fields/conv4-patches.webp`.

    Args:
        folder: the run folder.
        stage: a stage that was watched on its top patches.
        image: returns an image of the data set, uint8 (3, h, w).
        degree: pixels per degree of visual angle, where known.
    """
    file = store.checkpoints(folder / "fields")[-1]
    fields = store.load(file, f"{stage}/topk")
    size = store.about(file)["stages"][stage]["size"]
    height, width = image(0).shape[-2:]
    shown = min(int(max(size) * AROUND) if size else LARGEST, LARGEST, height, width)
    patches, centre = fields.patches, fields.centre
    present = patches[..., 0] >= 0
    cut = np.full((*present.shape, shown, shown, 3), grid.GREY, dtype=np.uint8)
    for u, k in np.argwhere(present):
        cut[u, k] = _cut(image(int(patches[u, k, 0])), centre[u, k], shown)
    _save_small(cut, folder / "figures" / "fields" / f"{stage}-patches.webp")
    cut, present, units = cut[:ROWS], present[:ROWS], fields.units[:ROWS].tolist()
    outline = (size[0], size[1]) if size else (height, width)
    title = f"{stage}, {_spoken(file.stem)}: strongest patches"
    figure = sheets.patches(cut, outline, units, title, present, degree)
    return {f"rf/{stage}/patches": _save(figure, folder, f"{stage}-patches")}


def _cut(image: Tensor, centre: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Return the square around a place, (side, side, 3); white beyond the image."""
    padded = np.pad(
        image.numpy(), ((0, 0), (side, side), (side, side)), mode="constant", constant_values=255
    )
    top, left = (round(float(at) - (side - 1) / 2) + side for at in centre)
    return padded[:, top : top + side, left : left + side].transpose(1, 2, 0)


def _save_small(cut: NDArray[np.uint8], file: Path) -> None:
    """Write patches (U, K, side, side, 3) as one picture, a row per unit."""
    units, count, side = cut.shape[:3]
    rows = cut.transpose(0, 2, 1, 3, 4).reshape(units * side, count * side, 3)
    small = min(side, SMALL, WEBP // max(units, count))
    sheet_of_all = Image.fromarray(rows).resize(
        (count * small, units * small), Image.Resampling.BOX
    )
    partial = file.with_suffix(".partial")
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet_of_all.save(partial, "WEBP", quality=80)
    os.replace(partial, file)


def _what(about: Mapping[str, object], source: str) -> str:
    return f"{about['method']}, {about['patches']} {source} patches"


def _spoken(checkpoint: str) -> str:
    """Return "epoch 2" for "epoch=002"."""
    word, _, number = checkpoint.partition("=")
    return f"{word} {int(number)}" if number else word


def _save(figure: Figure, folder: Path, name: str) -> Path:
    file = folder / "figures" / "fields" / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(grid.png(figure))
    os.replace(partial, file)
    return file
