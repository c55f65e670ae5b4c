"""Figures of stored fields: a grid per checkpoint, and sheets of the whole training."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deepsal.atomic import replace_file
from deepsal.rf import store
from deepsal.rf.mapping.noise_fields import StoredNoiseFields
from deepsal.rf.measures import profile
from deepsal.rf.plot import grid, sheets, tile_board, tiles

STRIP_UNITS = 12
"""Number of units in an evolution sheet."""
SHEET_UNITS = 8
"""Number of units in a patch sheet."""
PATCH_MARGIN = 1.25
"""Side of a drawn patch, in sides of the unit's theoretical field."""
MAX_PATCH_SIDE = 129
"""Largest side of a drawn patch, pixels."""
THUMBNAIL_SIDE, MAX_WEBP_SIDE = 72, 16383


def draw_field_grids(
    folder: Path, fields: Mapping[str, store.StoredFields], file: Path, degree: float | None
) -> dict[str, Path]:
    """Draw the fields of one checkpoint, a grid per stage and source.

    Args:
        folder: the run folder.
        fields: `{"conv4/centred": fields}`.
        file: the file that the fields are stored in.
        degree: pixels per degree of visual angle, or None.

    Returns:
        `{"rf/conv4/centred": figures/fields/conv4-centred/epoch=002.png}`.
    """
    description = store.load_description(file)
    figures = {}
    for name, of_stage in fields.items():
        stage, source = name.split("/")
        title = f"{stage}, {_checkpoint_title(file.stem)}: "
        sigma = description["stages"][stage]["sigma"]
        units = store.watched_units(description, stage) or of_stage.units.tolist()
        field = store.field_at_pixels(of_stage, units)
        rows = [of_stage.units.tolist().index(unit) for unit in units]
        samples, name_of_samples = store.sample_count(of_stage)
        reliability = tile_board.FieldReliability(
            of_stage.reliability[rows],
            samples,
            store.target_reliability(description),
            name_of_samples,
        )
        title += _caption(description, source, samples, name_of_samples)
        if isinstance(of_stage, StoredNoiseFields) and not of_stage.whole:
            title += ", the part of the field in a window"
        figure = grid.draw_field_grid(field, units, title, sigma, degree, reliability)
        figures[f"rf/{name}"] = _save_png(figure, folder, f"{stage}-{source}/{file.stem}")
    return figures


def draw_field_evolution(
    folder: Path, stage: str, source: str, degree: float | None
) -> dict[str, Path]:
    """Draw a stage's first units through training, and their radial profiles at the end.

    Args:
        folder: the run folder.
        stage: a stage with stored fields.
        source: a source of its patches.
        degree: pixels per degree of visual angle, or None.

    Returns:
        `{"rf/conv4/evolution": …, "rf/conv4/profile": …}`.
    """
    name, last = f"{stage}/{source}", store.field_files(folder / "fields")[-1]
    description = store.load_description(last)
    units = store.watched_units(description, stage)
    evolution = store.load_evolution(folder / "fields", name, units).select(STRIP_UNITS)
    units = evolution.units.tolist()
    sigma, samples = description["stages"][stage]["sigma"], evolution.samples
    reliability = tile_board.FieldReliability(
        evolution.reliability, samples, store.target_reliability(description), evolution.sample_name
    )
    at_end = reliability._replace(value=evolution.reliability[-1])
    caption = _caption(description, source, samples, evolution.sample_name)
    headings = [_checkpoint_title(checkpoint) for checkpoint in evolution.checkpoints]
    strips = sheets.draw_evolution_sheet(
        evolution.field, units, headings, f"{stage}: {caption}", sigma, degree, reliability
    )
    radius, means = profile.radial_profile(profile.smooth_field(evolution.field[-1], sigma))
    title = f"{stage}, {headings[-1]}: {caption}"
    lines = sheets.draw_profile_sheet(means, radius, units, title, degree, at_end)
    return {
        f"rf/{stage}/evolution": _save_png(strips, folder, f"{stage}-evolution"),
        f"rf/{stage}/profile": _save_png(lines, folder, f"{stage}-profile"),
    }


def draw_patch_sheet(
    folder: Path, stage: str, image: Callable[[int], Tensor], degree: float | None
) -> dict[str, Path]:
    """Draw the patches that a stage's first units respond to most at the last checkpoint.

    Where fields are stored patch by patch, each patch is followed by the gradient there: what the
    unit saw, and what it used. Also writes thumbnails of all units' patches, a row per unit, to
    `figures/fields/conv4-patches.webp`.

    Args:
        folder: the run folder.
        stage: a stage with fields on its strongest patches.
        image: returns an image of the data set, uint8 (3, h, w), by its number.
        degree: pixels per degree of visual angle, or None.

    Returns:
        `{"rf/conv4/patches": figures/fields/conv4-patches.png}`.
    """
    file = store.field_files(folder / "fields")[-1]
    fields = store.load_fields(file, f"{stage}/strongest")
    size = store.load_description(file)["stages"][stage]["size"]
    height, width = image(0).shape[-2:]
    side = int(max(size) * PATCH_MARGIN) if size else MAX_PATCH_SIDE
    side = min(side, MAX_PATCH_SIDE, height, width)
    present = fields.patches[..., 0] >= 0
    crops = np.full((*present.shape, side, side, 3), tiles.MISSING_GREY, dtype=np.uint8)
    for u, k in np.argwhere(present):
        crops[u, k] = _crop_around(image(int(fields.patches[u, k, 0])), fields.centre[u, k], side)
    thumbnails = folder / "figures" / "fields" / f"{stage}-patches.webp"
    _save_thumbnails(crops, thumbnails)
    first = slice(SHEET_UNITS)
    outline = (size[0], size[1]) if size else (height, width)
    title = f"{stage}, {_checkpoint_title(file.stem)}: strongest patches"
    units = fields.units[first].tolist()
    fields_there = fields.field[first] if fields.field.ndim == 5 else None
    figure = sheets.draw_patch_sheet(
        crops[first], outline, units, title, present[first], degree, fields_there
    )
    return {f"rf/{stage}/patches": _save_png(figure, folder, f"{stage}-patches")}


def _crop_around(image: Tensor, centre: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Return the square (side, side, 3) around a place (row, column), white beyond the image."""
    margins = ((0, 0), (side, side), (side, side))
    padded = np.pad(image.numpy(), margins, mode="constant", constant_values=255)
    top, left = (round(float(at) - (side - 1) / 2) + side for at in centre)
    return padded[:, top : top + side, left : left + side].transpose(1, 2, 0)


def _save_thumbnails(crops: NDArray[np.uint8], file: Path) -> None:
    """Write patches (U, K, side, side, 3) as one image, a row per unit."""
    units, count, side = crops.shape[:3]
    rows = crops.transpose(0, 2, 1, 3, 4).reshape(units * side, count * side, 3)
    small = min(side, THUMBNAIL_SIDE, MAX_WEBP_SIDE // max(units, count))
    sheet = Image.fromarray(rows).resize((count * small, units * small), Image.Resampling.BOX)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(file) as partial:
        sheet.save(partial, "WEBP", quality=80)


def _caption(description: Mapping[str, object], source: str, samples: int, sample_name: str) -> str:
    if sample_name == "pairs":
        background = {"natural": "natural images", "grey": "grey"}[source]
        return f"reverse correlation on {background}, {samples:,} pairs of noise images"
    method = description.get("patch_method", description["method"])
    return f"{method}, {f'{samples} {source} patches' if samples > 1 else f'one {source} patch'}"


def _checkpoint_title(checkpoint: str) -> str:
    """Return "epoch 2" for "epoch=002"."""
    word, _, number = checkpoint.partition("=")
    return f"{word} {int(number)}" if number else word


def _save_png(figure: Figure, folder: Path, name: str) -> Path:
    file = folder / "figures" / "fields" / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(file) as partial:
        partial.write_bytes(tile_board.png_bytes(figure))
    return file
