"""Receptive fields through training as data of a page: sprites, profiles, measures per unit."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepsal.report.run_folders import field_files
from deepsal.rf import store
from deepsal.rf.measures import profile
from deepsal.rf.plot import tile_board, tiles
from deepsal.rf.tuning.indices import preferred_value, size_tuning_curve
from deepsal.statistics import Interval, bootstrap_interval

FloatArray = NDArray[np.float64]
MAX_PICTURE_SIDE = 96
"""Largest side of a unit's picture, pixels."""
MAX_WEBP_SIDE = 16383
"""Longest side of a WebP file, pixels."""


class SizeTuning(NamedTuple):
    """Responses of units by the size of the stimulus.

    radius: (R,) pixels · gratings: (T, U, R), at the unit's best one, rectified · disks: (T, U, R),
    of the sign that excites the unit more, before the rectifier.
    """

    radius: FloatArray
    gratings: FloatArray
    disks: FloatArray


class StageFields(NamedTuple):
    """Fields of the U units of a stage at all T checkpoints.

    epochs, steps: of the checkpoints · source: of the image patches · size: of the theoretical
    field, or None · sigma: of the blur, pixels · side: of the area in a picture, pixels of the
    image · picture: uint8 (T, U, c, c), 128 is 0, and 255 and 1 are plus and minus the peak · peak:
    (T, U), NaN for a dead unit · profile_radius: (R,) pixels · profile: (T, U, R) · measures:
    `{name: (T, U)}` · patches: strongest patches as a WebP file with a row per unit, or None ·
    reliability: of the fields, (T, U), and the number of samples.
    """

    name: str
    units: list[int]
    epochs: list[int]
    steps: list[int]
    source: str
    size: list[int] | None
    stride: list[int]
    sigma: float
    side: int
    picture: NDArray[np.uint8]
    peak: FloatArray
    profile_radius: FloatArray
    profile: FloatArray
    size_tuning: SizeTuning | None
    measures: dict[str, FloatArray]
    patches: bytes | None
    reliability: tile_board.FieldReliability

    def medians(self, measure: str) -> list[Interval]:
        """Return the median of a measure over units and its interval at each checkpoint."""
        return [bootstrap_interval(values) for values in self.measures[measure]]


def read_stage_fields(folder: Path) -> list[StageFields]:
    """Read a run's stored fields of the first source, stage by stage; [] without stored fields."""
    files = field_files(folder)
    descriptions = [store.load_description(file) for file in files]
    stages = descriptions[-1]["stages"] if descriptions else ()
    return [_stage_fields(folder, files, descriptions, name) for name in stages]


def _stage_fields(
    folder: Path, files: Sequence[Path], descriptions: Sequence[dict[str, Any]], name: str
) -> StageFields:
    source, stage = descriptions[-1]["sources"][0], descriptions[-1]["stages"][name]
    units = store.watched_units(descriptions[-1], name)
    evolution = store.load_evolution(folder / "fields", f"{name}/{source}", units)
    reliability = tile_board.FieldReliability(
        evolution.reliability,
        evolution.samples,
        store.target_reliability(descriptions[-1]),
        evolution.sample_name,
    )
    sigma = float(stage["sigma"])
    blurred = [profile.smooth_field(field, sigma) for field in evolution.field]
    maps = np.stack([profile.luminance_field(field) for field in blurred])
    side = max(tiles.display_side(m) for m in maps)
    picture, peak = grey_pictures(maps, side, min(side, MAX_PICTURE_SIDE))
    profiles = [profile.radial_profile(field) for field in blurred]
    radius = profiles[0][0]
    within = radius <= max(0.75 * side, 2)
    checkpoints = [store.load_stage_arrays(file, f"{name}/measure") for file in files]
    measures = {key: np.stack([values[key] for values in checkpoints]) for key in checkpoints[0]}
    size_tuning = _size_tuning(files, name)
    if size_tuning:
        curves = size_tuning.disks
        best = preferred_value(curves.reshape(-1, curves.shape[2]), size_tuning.radius)
        measures["radius"] = best.reshape(curves.shape[:2])
    patches = folder / "figures" / "fields" / f"{name}-patches.webp"
    return StageFields(
        name=name,
        units=evolution.units.tolist(),
        epochs=[description["epoch"] for description in descriptions],
        steps=[description["step"] for description in descriptions],
        source=source,
        size=stage["size"],
        stride=stage["stride"],
        sigma=sigma,
        side=side,
        picture=picture,
        peak=peak,
        profile_radius=radius[within],
        profile=np.stack([values[:, within] for _, values in profiles]),
        size_tuning=size_tuning,
        measures=measures,
        patches=patches.read_bytes() if patches.is_file() else None,
        reliability=reliability,
    )


def _size_tuning(files: Sequence[Path], name: str) -> SizeTuning | None:
    """Return the size tuning of a stage; None where it was not measured at each checkpoint."""
    arrays = [store.load_stage_arrays(file, name) for file in files]
    if not all("gratings" in each for each in arrays):
        return None
    disks = [size_tuning_curve(each["disks"]) for each in arrays]
    gratings = [each["gratings"] for each in arrays]
    radius, both = arrays[0]["radius"], (np.stack(gratings), np.stack(disks))
    return SizeTuning(radius, both[0].astype(np.float64), both[1].astype(np.float64))


def grey_pictures(
    maps: NDArray[np.float32], side: int, size: int
) -> tuple[NDArray[np.uint8], FloatArray]:
    """Return luminance fields as grey pictures, and their peaks.

    Args:
        maps: (T, U, h, w).
        side: of the central square in the pictures, pixels of the maps.
        size: side of a picture.

    Returns:
        uint8 (T, U, size, size), 128 is 0; and the largest |value| of each (T, U), NaN for a map
        that is not finite.
    """
    alive = np.asarray(np.isfinite(maps).all((-2, -1)))
    rows, columns = (tiles.resampling_matrix(n, side, size) for n in maps.shape[-2:])
    w = rows @ np.where(alive[..., None, None], maps, 0) @ columns.T
    peak = np.abs(w).max((-2, -1)).astype(np.float64)
    scaled = w / np.where(peak > 0, peak, 1)[..., None, None]
    return np.rint(128 + 127 * scaled).astype(np.uint8), np.where(alive, peak, np.nan)


def sprite_sheet(picture: NDArray[np.uint8], cell_side: int) -> tuple[bytes, int]:
    """Return pictures as one lossless WebP file, a row per checkpoint, and the side of a cell.

    Args:
        picture: grey pictures (T, U, c, c).
        cell_side: largest side of a cell, pixels.
    """
    checkpoints, units, side = picture.shape[:3]
    size = min(side, cell_side, MAX_WEBP_SIDE // max(checkpoints, units))
    shrink = tiles.resampling_matrix(side, side, size)
    small = np.rint(shrink @ picture.astype(np.float32) @ shrink.T).astype(np.uint8)
    sheet = small.transpose(0, 2, 1, 3).reshape(checkpoints * size, units * size)
    buffer = io.BytesIO()
    Image.fromarray(sheet).convert("RGB").save(buffer, "WEBP", lossless=True, method=4)
    return buffer.getvalue(), size
