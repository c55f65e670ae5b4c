"""Receptive fields of all units of several layers, by reverse correlation with noise.

z(x + n) − z(x − n) of a unit is correlated with the noise n around the unit. For Gaussian noise of
variance σ², E[(z(x + n) − z(x − n)) n] / 2σ² = E[∂z/∂x (x + n)] (Stein 1981, "Estimation of the
mean of a multivariate normal distribution"): the mean gradient over images x and noise. On grey it
is the spike-triggered average of Chichilnisky 2001, "A simple white noise analysis of neuronal
light responses". Only forward passes are needed, and one pass serves every unit at every position.

A field shows the linear part of a response. A surround that only divides or gates has none.

Letters in shapes: U units (channels), h and w samples of a field, N images, H and W their sides.
"""

import math
from collections.abc import Mapping, Sequence
from time import monotonic

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.cell_noise import BLOCK_COUNT, cell_sizes
from deepsal.rf.mapping.cell_search import CellSearch, StopReason, add_rounds
from deepsal.rf.mapping.field_sampling import POSITION_CHOICES, field_sampling
from deepsal.rf.mapping.layer_responses import LayerResponses, full_precision_copy
from deepsal.rf.mapping.noise_correlation import CorrelationSums, NoisePresentation
from deepsal.rf.mapping.noise_fields import NoiseFields, NoiseMeasurement
from deepsal.rf.measures.reliability import split_half_reliability

MID_GREY = 0.5
GREY_AMPLITUDE, IMAGE_AMPLITUDE = 0.2, 0.05
"""Default amplitudes."""


def reverse_correlation(
    network: nn.Module,
    layers: Sequence[str],
    size: tuple[int, int],
    background: float | Float[Tensor, "N 3 H W"] = MID_GREY,
    amplitude: float | None = None,
    target: float = 0.9,
    pairs: int = 2048,
    seconds: float | None = None,
    seed: int = 0,
    cells: Mapping[str, Sequence[int]] | None = None,
    window: int | None = None,
    positions: str = "inside",
    opponent: float = 1.0,
    limits: tuple[float, float] | None = (0.0, 1.0),
    known: Mapping[str, FieldGeometry] | None = None,
    repeat: Mapping[str, NoiseMeasurement] | None = None,
) -> dict[str, NoiseFields]:
    """Measure the fields of all units of layers until they are reliable.

    Each layer starts with a pilot of 64 pairs per cell size, from the finest cell on. It goes on
    with the finest cell that is predicted to reach the target within the budget, else with the
    cell that comes nearest. It stops when the median reliability of its units reaches the target.
    Layers with one cell size share passes. Fields are averaged over all positions whose
    theoretical field lies inside the image; where there is none, over the middle half of the map,
    and `whole` is false.

    The network is read in eval mode and full float32, and left as it was. One in half precision is
    read as a float32 copy of it. Sums are float32 on the network's device.

    Args:
        network: any module that takes images (B, 3, H, W).
        layers: dotted names.
        size: (H, W).
        background: a grey level, or images, in the network's own scale. Eight images or more are
            shared out to the eight blocks, so that reliability covers the choice of images too.
        amplitude: standard deviation of the noise of one colour, in the images' units; None: .2 on
            grey, .05 on images. Fields are means over this neighbourhood of the background.
        target: median reliability at which a layer stops.
        pairs: largest number of pairs per layer and cell; rounded down to a multiple of 8.
        seconds: about the longest time for the whole call, beside `pairs`. Each layer gets at least
            one pass per cell that is tried.
        seed: equal seeds give equal noise on equal backgrounds, whatever the network.
        cells: sizes to try per layer, fine to coarse; None: `cell_sizes` of its geometry.
        window: largest side of a field in pixels; None: the theoretical field, or where the image
            cuts it, 8 strides but at most two thirds of the image's shorter side.
        positions: `inside`, or `all` for the whole map, units at borders included.
        opponent: deviation of the noise on each opponent axis over that on the luminance axis.
        limits: values that the network takes; noisy images are clipped to them. None: no clipping,
            for a network that takes normalised images.
        known: geometries that need not be measured again.
        repeat: an earlier call's result. Its cells and numbers of pairs are used again, whatever
            `target`, `pairs` and `seconds` say. The same seed and background give the same noise.

    Returns:
        `{layer: NoiseFields}`.

    Raises:
        ValueError: no such layer; a compiled network; images of another size; a number of pairs
            below 8; an amplitude that saturates the limits; outputs that are not finite; a target,
            cell or choice out of range.

    >>> network = nn.Sequential(nn.Conv2d(3, 2, 5, bias=False), nn.ReLU())
    >>> fields = reverse_correlation(network, ["1"], (32, 32), amplitude=0.1)["1"]
    >>> fields.field.shape, fields.stopped, fields.whole
    ((2, 3, 5, 5), 'target', True)
    """
    _validate(layers, size, background, target, pairs, positions, cells or {})
    if amplitude is None:
        amplitude = IMAGE_AMPLITUDE if isinstance(background, Tensor) else GREY_AMPLITUDE
    deadline = math.inf if seconds is None else monotonic() + seconds
    network = full_precision_copy(network)
    with temporary_eval_mode(network), torch.no_grad():
        geometries = {n: (known or {}).get(n) or measure_geometry(network, n) for n in layers}
        responses = LayerResponses(network, layers, size)
        show = NoisePresentation(responses, size, background, amplitude, opponent, limits, seed)

        def start(name: str, cell: int) -> CorrelationSums:
            channels, height, width = responses.shapes[name]
            at = field_sampling(geometries[name], size, (height, width), cell, window, positions)
            return CorrelationSums(name, cell, at, channels, show)

        if repeat is not None:
            sums = {name: start(name, repeat[name].cell) for name in layers}
            add_rounds(show, sums, {n: repeat[n].pairs // BLOCK_COUNT for n in layers})
            stopped: dict[str, StopReason] = {name: repeat[name].stopped for name in layers}
        else:
            choices = {n: (cells or {}).get(n) or cell_sizes(geometries[n], size) for n in layers}
            search = CellSearch(show, target, pairs // BLOCK_COUNT, deadline)
            sums, stopped = search.run(start, choices)
        return {n: _result(sums[n], geometries[n], stopped[n]) for n in layers}


def _result(sums: CorrelationSums, of: FieldGeometry, stopped: StopReason) -> NoiseFields:
    blocks, show = sums.blocks(), sums.show
    return NoiseFields(
        field=blocks.mean(0, dtype=np.float64).astype(np.float32),
        blocks=blocks,
        units=np.arange(blocks.shape[1]),
        reliability=split_half_reliability(blocks),
        cell=sums.cell,
        step=sums.at.rows.step,
        origin=(sums.at.rows.origin, sums.at.columns.origin),
        geometry=of,
        pairs=sums.rounds * BLOCK_COUNT,
        positions=sums.at.positions,
        amplitude=show.amplitude,
        gain=sums.gain_left(),
        background="images" if isinstance(show.background, Tensor) else "grey",
        stopped=stopped,
        whole=sums.at.whole,
    )


def _validate(
    layers: Sequence[str],
    size: tuple[int, int],
    background: float | Tensor,
    target: float,
    pairs: int,
    positions: str,
    cells: Mapping[str, Sequence[int]],
) -> None:
    if pairs < BLOCK_COUNT:
        raise ValueError(
            f"pairs={pairs} is too small: reliability needs {BLOCK_COUNT} blocks of "
            "at least one pair"
        )
    if not 0 < target < 1:
        raise ValueError(f"target={target} must lie between 0 and 1: it is a reliability")
    if positions not in POSITION_CHOICES:
        raise ValueError(f"no positions {positions!r}; the choices are {[*POSITION_CHOICES]}")
    if not layers:
        raise ValueError("layers is empty: name at least one layer")
    if unknown := [name for name in cells if name not in layers]:
        raise ValueError(f"cells names {unknown}, which are not among the layers {[*layers]}")
    if wrong := {name: c for name, c in cells.items() if not c or min(c) < 1}:
        raise ValueError(f"cells are sides in pixels, 1 or more: {wrong}")
    if isinstance(background, Tensor):
        expected = (len(background), 3, *size)
        if not len(background) or tuple(background.shape) != expected:
            raise ValueError(
                f"background is {tuple(background.shape)}; images must be (N, 3, {size[0]}, "
                f"{size[1]}), N at least 1"
            )
