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
from deepsal.rf.mapping.gradient_fields import ReceptiveFields
from deepsal.rf.measures import profile
from deepsal.rf.plot import grid, sheets

STRIP_UNITS = 12
SHEET_UNITS = 8
PATCH_MARGIN = 1.25
MAX_PATCH_SIDE = 129
THUMBNAIL_SIDE, MAX_WEBP_SIDE = 72, 16383


def draw_field_grids(
    folder: Path, found: Mapping[str, ReceptiveFields], file: Path, degree: float | None
) -> dict[str, Path]:
    """Draw one grid per stage and source at one checkpoint, `{"rf/conv4/centred": picture}`.

    Args:
        folder: the run folder.
        found: `{"conv4/centred": fields}`.
        file: where they are stored.
        degree: pixels per degree of visual angle, where known.
    """
    about = store.load_description(file)
    pictures = {}
    for name, fields in found.items():
        stage, source = name.split("/")
        title = f"{stage}, {_checkpoint_title(file.stem)}: {_patch_caption(about, source)}"
        sigma = about["stages"][stage]["sigma"]
        figure = grid.draw_field_grid(fields.field, fields.units.tolist(), title, sigma, degree)
        pictures[f"rf/{name}"] = _save_png(figure, folder, f"{stage}-{source}/{file.stem}")
    return pictures


def draw_field_evolution(
    folder: Path, stage: str, source: str, degree: float | None
) -> dict[str, Path]:
    """Draw a stage's first units through training, and their radial profiles at the end."""
    last = store.field_files(folder / "fields")[-1]
    units = store.load_fields(last, f"{stage}/{source}").units[:STRIP_UNITS].tolist()
    found = store.load_evolution(folder / "fields", f"{stage}/{source}", units)
    about = store.load_description(last)
    sigma, what = about["stages"][stage]["sigma"], _patch_caption(about, source)
    headings = [_checkpoint_title(checkpoint) for checkpoint in found.checkpoints]
    strips = sheets.draw_evolution_sheet(
        found.field, units, headings, f"{stage}: {what}", sigma, degree
    )
    radius, means = profile.radial_profile(profile.smooth_field(found.field[-1], sigma))
    lines = sheets.draw_profile_sheet(
        means, radius, units, f"{stage}, {headings[-1]}: {what}", degree
    )
    return {
        f"rf/{stage}/evolution": _save_png(strips, folder, f"{stage}-evolution"),
        f"rf/{stage}/profile": _save_png(lines, folder, f"{stage}-profile"),
    }


def draw_patch_sheet(
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
    file = store.field_files(folder / "fields")[-1]
    fields = store.load_fields(file, f"{stage}/strongest")
    size = store.load_description(file)["stages"][stage]["size"]
    height, width = image(0).shape[-2:]
    shown = min(
        int(max(size) * PATCH_MARGIN) if size else MAX_PATCH_SIDE, MAX_PATCH_SIDE, height, width
    )
    patches, centre = fields.patches, fields.centre
    present = patches[..., 0] >= 0
    cut = np.full((*present.shape, shown, shown, 3), grid.MISSING_GREY, dtype=np.uint8)
    for u, k in np.argwhere(present):
        cut[u, k] = _crop_around(image(int(patches[u, k, 0])), centre[u, k], shown)
    _save_thumbnails(cut, folder / "figures" / "fields" / f"{stage}-patches.webp")
    cut, present, units = (
        cut[:SHEET_UNITS],
        present[:SHEET_UNITS],
        fields.units[:SHEET_UNITS].tolist(),
    )
    outline = (size[0], size[1]) if size else (height, width)
    title = f"{stage}, {_checkpoint_title(file.stem)}: strongest patches"
    figure = sheets.draw_patch_sheet(cut, outline, units, title, present, degree)
    return {f"rf/{stage}/patches": _save_png(figure, folder, f"{stage}-patches")}


def _crop_around(image: Tensor, centre: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Return the square around a place, (side, side, 3); white beyond the image."""
    padded = np.pad(
        image.numpy(), ((0, 0), (side, side), (side, side)), mode="constant", constant_values=255
    )
    top, left = (round(float(at) - (side - 1) / 2) + side for at in centre)
    return padded[:, top : top + side, left : left + side].transpose(1, 2, 0)


def _save_thumbnails(cut: NDArray[np.uint8], file: Path) -> None:
    """Write patches (U, K, side, side, 3) as one picture, a row per unit."""
    units, count, side = cut.shape[:3]
    rows = cut.transpose(0, 2, 1, 3, 4).reshape(units * side, count * side, 3)
    small = min(side, THUMBNAIL_SIDE, MAX_WEBP_SIDE // max(units, count))
    sheet_of_all = Image.fromarray(rows).resize(
        (count * small, units * small), Image.Resampling.BOX
    )
    partial = file.with_suffix(".partial")
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet_of_all.save(partial, "WEBP", quality=80)
    os.replace(partial, file)


def _patch_caption(about: Mapping[str, object], source: str) -> str:
    return f"{about['method']}, {about['patches']} {source} patches"


def _checkpoint_title(checkpoint: str) -> str:
    """Return "epoch 2" for "epoch=002"."""
    word, _, number = checkpoint.partition("=")
    return f"{word} {int(number)}" if number else word


def _save_png(figure: Figure, folder: Path, name: str) -> Path:
    file = folder / "figures" / "fields" / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(grid.png_bytes(figure))
    os.replace(partial, file)
    return file
