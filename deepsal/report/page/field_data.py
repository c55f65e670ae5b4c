"""Receptive fields through training as a page needs them: sprites, profiles, measures per unit."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepsal.rf import store
from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.measures import profile
from deepsal.rf.measures.summary import field_change_measures
from deepsal.rf.plot import grid
from deepsal.rf.tuning.indices import preferred_value, size_tuning_curve, surround_suppression_index

FloatArray = NDArray[np.float64]
MAX_PICTURE_SIDE = 96
"""Largest side of a unit's picture, pixels."""
MAX_WEBP_SIDE = 16383
"""Longest side of a WebP, pixels."""


class SizeTuning(NamedTuple):
    """What units answer to disks: radius (D,), pixels · curve (T, U, D) · ssi, preferred (T, U)."""

    radius: FloatArray
    curve: FloatArray
    ssi: FloatArray
    preferred: FloatArray


class StageFields(NamedTuple):
    """The units of a stage at all T checkpoints.

    side: of what a picture shows, pixels of the image · picture: uint8 (T, U, c, c), 128 is 0 and
    255 or 1 is plus or minus the unit's `peak` (T, U), NaN for a dead unit · radius (R,), profile
    (T, U, R) · sizes: tuning, where it was measured · measures: `{name: (T, U)}` · patches: a
    WebP, a row per unit, K columns, or None.
    """

    name: str
    units: list[int]
    checkpoints: list[int]
    steps: list[int]
    source: str
    size: list[int] | None
    stride: list[int]
    sigma: float
    side: int
    picture: NDArray[np.uint8]
    peak: FloatArray
    radius: FloatArray
    profile: FloatArray
    sizes: SizeTuning | None
    measures: dict[str, FloatArray]
    patches: bytes | None


def read_stage_fields(folder: Path) -> list[StageFields]:
    """Read a run's stored fields, the first source of each stage; [] where it has none."""
    files = sorted((folder / "fields").glob("epoch=*.npz"))
    if not files:
        return []
    about = [store.load_description(file) for file in files]
    source = about[-1]["sources"][0]
    known = about[-1]["stages"]
    return [_stage_fields(folder, files, about, name, source) for name in known]


def _stage_fields(
    folder: Path,
    files: Sequence[Path],
    about: Sequence[dict[str, object]],
    name: str,
    source: str,
) -> StageFields:
    found = store.load_evolution(folder / "fields", f"{name}/{source}")
    of_stage: dict[str, object] = about[-1]["stages"][name]  # type: ignore[index]
    sigma = float(of_stage["sigma"])  # type: ignore[arg-type]
    blurred = [profile.smooth_field(field, sigma) for field in found.field]
    maps = np.stack([profile.luminance_field(field) for field in blurred])
    side = max(grid.display_side(m) for m in maps)
    picture, peak = grey_pictures(maps, side, min(side, MAX_PICTURE_SIDE))
    profiles = [profile.radial_profile(field) for field in blurred]
    radius = profiles[0][0]
    shown = radius <= max(0.75 * side, 2)
    pairs = {key: _integer_pair(of_stage[key]) for key in ("size", "stride", "offset")}
    geometry = FieldGeometry(**pairs)  # type: ignore[arg-type]
    each = [
        store.load_stage_arrays(file, f"{name}/measure")
        or field_change_measures(field, found.field[0], geometry)
        for file, field in zip(files, found.field, strict=True)
    ]
    measures = {key: np.stack([one[key] for one in each]) for key in each[0]}
    sizes = _size_tuning(files, name)
    if sizes:
        measures |= {"ssi": sizes.ssi, "radius": sizes.preferred}
    patches = folder / "figures" / "fields" / f"{name}-patches.webp"
    return StageFields(
        name,
        found.units.tolist(),
        [int(a["epoch"]) for a in about],  # type: ignore[call-overload]
        [int(a["step"]) for a in about],  # type: ignore[call-overload]
        source,
        of_stage["size"],  # type: ignore[arg-type]
        of_stage["stride"],  # type: ignore[arg-type]
        sigma,
        side,
        picture,
        peak,
        radius[shown],
        np.stack([profile[:, shown] for _, profile in profiles]),
        sizes,
        measures,
        patches.read_bytes() if patches.is_file() else None,
    )


def _size_tuning(files: Sequence[Path], name: str) -> SizeTuning | None:
    shown = [store.load_stage_arrays(file, name) for file in files]
    if "radius" not in shown[0]:
        return None
    radius, disks = shown[0]["radius"], [one["disks"] for one in shown]
    curves = [size_tuning_curve(answers).astype(np.float64) for answers in disks]
    suppressed = np.stack([surround_suppression_index(answers) for answers in disks])
    best = np.stack([preferred_value(curve, radius) for curve in curves])
    return SizeTuning(radius, np.stack(curves), suppressed, best)


def grey_pictures(
    maps: NDArray[np.float32], side: int, size: int
) -> tuple[NDArray[np.uint8], FloatArray]:
    """Return the middle of luminance fields (T, U, h, w) as grey pictures, and their peaks."""
    alive = np.asarray(np.isfinite(maps).all((-2, -1)))
    rows, columns = (grid.resampling_matrix(n, side, size) for n in maps.shape[-2:])
    w = rows @ np.where(alive[..., None, None], maps, 0) @ columns.T
    peak = np.abs(w).max((-2, -1)).astype(np.float64)
    scaled = w / np.where(peak > 0, peak, 1)[..., None, None]
    return np.rint(128 + 127 * scaled).astype(np.uint8), np.where(alive, peak, np.nan)


def sprite_sheet(picture: NDArray[np.uint8], cell: int) -> tuple[bytes, int]:
    """Return pictures (T, U, c, c) as one WebP without loss, rows are checkpoints, and its cell.

    Args:
        picture: grey pictures.
        cell: largest side of one in the sprite, pixels.
    """
    checkpoints, units, side = picture.shape[:3]
    size = min(side, cell, MAX_WEBP_SIDE // max(checkpoints, units))
    shrink = grid.resampling_matrix(side, side, size)
    small = np.rint(shrink @ picture.astype(np.float32) @ shrink.T).astype(np.uint8)
    sheet = small.transpose(0, 2, 1, 3).reshape(checkpoints * size, units * size)
    buffer = io.BytesIO()
    Image.fromarray(sheet).convert("RGB").save(buffer, "WEBP", lossless=True, method=4)
    return buffer.getvalue(), size


def _integer_pair(value: object) -> tuple[int, int] | None:
    return None if value is None else (value[0], value[1])  # type: ignore[index]
