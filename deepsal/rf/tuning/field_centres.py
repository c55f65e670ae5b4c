"""Centres of the fields of units of several layers, measured by small gratings.

Shapes: U units, h × w positions of a layer.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.memory import run_in_batches
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.grating_protocol import SMALL_GRATING
from deepsal.rf.tuning.layer_reader import LayerReader, window_frame, without_rounding

MAPPING_STEP = 0.25
"""Distance of the places of small gratings, degrees."""
MAPPING_REACH = 2.5
"""Largest distance of a small grating from the theoretical centre of a field, degrees."""
MAPPING_THRESHOLD = 0.05
"""Share of the largest response from which a place counts."""


def measure_field_centres(
    reader: LayerReader, scale: float, batch_size: int
) -> tuple[dict[str, FloatArray], int]:
    """Measure the centre of each channel's field.

    An image shows a small grating at one place, and the positions of a layer see it at as many
    places of their fields. The centre is the centroid of their mean excitation.

    Args:
        reader: of the layers, on a square of grey.
        scale: pixels per degree.
        batch_size: number of images per forward pass.

    Returns:
        {layer: (U, 2)}, pixels from the theoretical centre, NaN for a unit without a response; and
        the number of images per forward pass that the memory has room for.
    """
    middle = (reader.background.shape[-1] - 1) / 2
    places = 1 << max(0, round(np.log2(reader.stride / (MAPPING_STEP * scale))))
    step = reader.stride / places
    parts: dict[str, list[tuple[Tensor, FloatArray, FloatArray]]] = {n: [] for n in reader.geometry}
    for y, x in product(range(places), range(places)):
        at = middle + (y - (places - 1) / 2) * step, middle + (x - (places - 1) / 2) * step
        total, batch_size = _mean_excitation(reader, scale, at, batch_size)
        for name, g in reader.geometry.items():
            if y >= -(-g.stride[0] // step) or x >= -(-g.stride[1] // step):
                continue
            first = first_field_centre(g)
            rows, columns = (
                at[a] - first[a] - np.arange(total[name].shape[1 + a]) * g.stride[a] for a in (0, 1)
            )
            near = [np.abs(d) <= MAPPING_REACH * scale for d in (rows, columns)]
            inside = total[name][:, near[0]][:, :, near[1]]
            parts[name].append((inside, rows[near[0]], columns[near[1]]))
    return {name: _response_centroid(part) for name, part in parts.items()}, batch_size


def first_field_centre(geometry: FieldGeometry) -> FloatArray:
    """Return the theoretical centre of the field of a layer's first position, (2,), pixels."""
    g = geometry
    return np.array(
        [(g.size[a] - 1) / 2 - g.offset[a] if g.size else (g.stride[a] - 1) / 2 for a in (0, 1)]
    )


def _mean_excitation(
    reader: LayerReader, scale: float, at: tuple[float, float], batch_size: int
) -> tuple[dict[str, Tensor], int]:
    """Return the mean excitation by small gratings at a place, {layer: (U, h, w)}.

    Also returns the number of images per forward pass that the memory has room for.
    """
    radius, frequency = SMALL_GRATING["radius"] * scale, SMALL_GRATING["frequency"] / scale
    angle, phase = np.tile([0.0, 45.0, 90.0, 135.0], 2), np.repeat([0.0, 180.0], 4)
    windows = reader.windows(at, radius)
    size, centre = window_frame(windows, at)
    total = {name: torch.zeros(z.shape[1:]) for name, z in reader.blank.items()}

    def add(part: slice) -> None:
        with reader.background.device:
            images = stimuli.grating_images(
                size, centre, [frequency], angle[part], phase[part], radius=[radius]
            )
        for name, z in reader.read(images.to(reader.background), windows).items():
            positions = windows[name].positions
            change = z - reader.blank[name][:, :, *positions]
            excitation = without_rounding(change, z).clamp(min=0)
            total[name][:, *positions] += excitation.float().sum(0).cpu() / len(angle)

    return total, run_in_batches(len(angle), batch_size, add)


def _response_centroid(parts: Sequence[tuple[Tensor, FloatArray, FloatArray]]) -> FloatArray:
    """Return the centroid of the places with more than 5 % of the largest response, (U, 2).

    Args:
        parts: responses (U, h, w), and the rows (h,) and columns (w,) of their places.
    """
    largest = torch.stack([part[0].amax((1, 2)) for part in parts]).amax(0)
    moments = torch.zeros(3, len(largest), dtype=torch.float64)
    for response, rows, columns in parts:
        above = response > MAPPING_THRESHOLD * largest[:, None, None]
        mass = torch.where(above, response, 0).double()
        moments[0] += mass.sum((1, 2))
        moments[1] += mass.sum(2) @ torch.as_tensor(rows)
        moments[2] += mass.sum(1) @ torch.as_tensor(columns)
    mass_of_unit = torch.where(moments[0] > 0, moments[0], torch.nan)
    return np.asarray((moments[1:] / mass_of_unit).T.numpy())
