"""Back-projection without an image: the pattern of a pooled unit's weights alone."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn.functional import conv_transpose2d

from deepsal.rf.geometry import chain_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.measures.profile import Field

CANVAS_PIXELS_PER_PASS = 1 << 19
"""A map of 64 channels on so many pixels takes 128 MiB."""
RECTIFY_MODES = ("every", "inner", "none")
UPSAMPLE_MODES = ("repeat", "insert")


def clamp_backprojection(
    modules: Iterable[nn.Module],
    units: Sequence[int],
    value: float = 1.0,
    rectify: str = "every",
    upsample: str = "repeat",
    canvas: int | None = None,
) -> Field:
    """Project each unit of a pooled map back to the pixels, without an image.

    He & Pugeault 2018 (arXiv 1801.04261): start from a pooled map O of zeros with `value` at its
    centre; for each pooling, upsample by its stride; for each convolution, A = relu(O ∗ Fᵀ), F the
    learnt filter, no bias. The end is the input of the first convolution (a normalised image, if
    the network normalises).

    The method is positively homogeneous, m(k·c) = k·m(c) for k > 0: `value` only scales the
    pattern. Rounding leaves 1.5e-6 of the maximum at VGG16's pool5, and 1e-7 in double precision.
    With rectify="every", as in the paper, no pixel is negative, so no surround can show.

    Only the stride of a pooling counts. If its window is larger (AlexNet's 3×3 at stride 2), the
    pattern is smaller than the theoretical field: 167 pixels, not 195, at pool5.

    Args:
        modules: the chain from the image up to and including a pooling, such as `features[:24]`,
            or a `Backbone`'s stages and the next pooling: convolutions, `nn.ReLU`, max and average
            pooling, dropout, and `nn.Sequential` of these.
        units: U channels of the pooled map.
        value: c, the value at the centre.
        rectify: a ReLU after "every" transposed convolution, the "inner" ones (all but the last,
            at the pixels, which then keep their sign) or "none" (the method is then linear).
        upsample: "repeat" each cell, or "insert" zeros after it.
        canvas: side in pixels; it must result from an odd pooled map (160 from 5×5 at VGG's pool5,
            as in figure 4.6). Default: the smallest that holds the theoretical field (VGG19's
            pool5: 288 for 268) and cuts no pattern.

    Returns:
        (U, 3, h, w), signed, in the middle of the canvas.

    Raises:
        ValueError: a layer of another kind, a chain that does not start at the image, no such unit
            or option, a value that is not positive and finite, a canvas that results from no odd
            map, or a pattern that is not finite.

    >>> convolution = nn.Conv2d(3, 1, 3, padding=1)
    >>> _ = nn.init.constant_(convolution.weight, 1.0)
    >>> chain = [convolution, nn.ReLU(), nn.MaxPool2d(2)]
    >>> clamp_backprojection(chain, [0], value=0.5)[0, 0].astype(int)
    array([[0, 0, 0, 0, 0, 0],
           [0, 0, 1, 1, 0, 0],
           [0, 1, 2, 2, 1, 0],
           [0, 1, 2, 2, 1, 0],
           [0, 0, 1, 1, 0, 0],
           [0, 0, 0, 0, 0, 0]])
    """
    network = nn.Sequential(*modules)
    layers = [*_filter_layers(network)]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    _validate(convolutions, units, value, rectify, upsample)
    steps = [_backward_step(layer) for layer in reversed(layers)]
    size = chain_geometry(layers).size or (1, 1)
    pooled = [_pooled_side(steps, axis, size[axis], canvas) for axis in (0, 1)]
    height, width = (_trace_side(steps, axis, n)[0] for axis, n in enumerate(pooled))
    pattern = np.empty((len(units), 3, height, width), np.float32)
    batch = max(1, CANVAS_PIXELS_PER_PASS // (height * width))
    # TF32 would break the homogeneity in the third digit
    exact = cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False)
    with temporary_eval_mode(network), torch.no_grad(), exact:
        weight = convolutions[-1].weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        for start in range(0, len(units), batch):
            channels = torch.tensor(units[start : start + batch])
            cells = weight.new_zeros(len(channels), len(weight), *pooled, dtype=dtype)
            cells[torch.arange(len(channels)), channels, pooled[0] // 2, pooled[1] // 2] = value
            pixels = _project_to_pixels(cells, steps, rectify, upsample)
            pattern[start : start + batch] = pixels.cpu().numpy()
    if not np.isfinite(pattern).all():
        raise ValueError(
            "a pattern is not finite: the weights are not finite, or too large for float32"
        )
    return pattern


def clampable_chain(network: nn.Module) -> list[nn.Module] | None:
    """Return the children of a network and a last pooling; None if these are no plain chain.

    Args:
        network: whose children follow each other, such as a `Backbone`.
    """
    chain = [*network.children(), nn.MaxPool2d(2)]
    try:
        list(_filter_layers(chain))
    except ValueError:
        return None
    return chain


class _BackwardStep(NamedTuple):
    """Geometry of a layer on the way to the pixels; pairs are (vertical, horizontal).

    n cells become (n − 1)·stride + reach + 1 − 2·before − beyond.
    """

    layer: nn.Module
    stride: tuple[int, int]
    reach: tuple[int, int]
    before: tuple[int, int]
    beyond: tuple[int, int]


def _filter_layers(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield the convolutions and poolings; a module that occurs twice in the chain counts twice."""
    for module in modules:
        forward = type(module).forward  # a subclass may compute something else
        if forward is nn.Sequential.forward and isinstance(module, nn.Sequential):
            yield from _filter_layers(module)
        elif forward is nn.Conv2d.forward and getattr(module, "padding_mode", "") != "zeros":
            raise ValueError(f"clamp needs a convolution padded with zeros, not {module}")
        elif forward in (nn.Conv2d.forward, nn.MaxPool2d.forward, nn.AvgPool2d.forward):
            yield module
        elif forward not in (
            *(nn.ReLU.forward, nn.Identity.forward),
            *(nn.Dropout.forward, nn.Dropout2d.forward),
        ):
            raise ValueError(
                "clamp is defined for plain chains of convolution, ReLU and pooling, and "
                f"{type(module).__name__} is none of them; use "
                '`map_receptive_fields(…, method="gradient")` instead'
            )


def _validate(
    convolutions: Sequence[nn.Conv2d],
    units: Sequence[int],
    value: float,
    rectify: str,
    upsample: str,
) -> None:
    if not convolutions or convolutions[0].in_channels != 3:
        raise ValueError("modules must be a chain of convolutions from an image of 3 colours on")
    channels = convolutions[-1].out_channels
    if wrong := [unit for unit in units if not 0 <= unit < channels]:
        raise ValueError(f"units of this chain are 0 … {channels - 1}, not {wrong}")
    if not 0 < value < float("inf"):
        raise ValueError(f"value must be positive and finite, not {value}")
    if rectify not in RECTIFY_MODES:
        raise ValueError(f"rectify must be one of {RECTIFY_MODES}, not {rectify!r}")
    if upsample not in UPSAMPLE_MODES:
        raise ValueError(f"upsample must be one of {UPSAMPLE_MODES}, not {upsample!r}")


def _backward_step(layer: nn.Module) -> _BackwardStep:
    geometry = chain_geometry([layer])
    (rows, columns), stride = geometry.size or (1, 1), geometry.stride
    if not isinstance(layer, nn.Conv2d):
        return _BackwardStep(layer, stride, (stride[0] - 1, stride[1] - 1), (0, 0), (0, 0))
    reach, before = (rows - 1, columns - 1), geometry.offset
    same = layer.padding == "same"  # pads one more behind an even kernel
    beyond = (reach[0] % 2, reach[1] % 2) if same else (0, 0)
    return _BackwardStep(layer, stride, reach, before, beyond)


def _trace_side(steps: Sequence[_BackwardStep], axis: int, cells: int) -> tuple[int, bool]:
    """Return the canvas's side, and whether no border on the way cuts the centre's pattern."""
    first = last = cells // 2
    whole = True
    for _, stride, reach, before, beyond in steps:
        first = first * stride[axis] - before[axis]
        last = last * stride[axis] - before[axis] + reach[axis]
        cells = (cells - 1) * stride[axis] + reach[axis] + 1 - 2 * before[axis] - beyond[axis]
        if cells < 1:
            return 0, False
        whole = whole and first >= 0 and last < cells
    return cells, whole


def _pooled_side(steps: Sequence[_BackwardStep], axis: int, size: int, canvas: int | None) -> int:
    """Return the odd side of the pooled map from which the canvas results."""
    before = 0
    for cells in count(1, 2):
        side, whole = _trace_side(steps, axis, cells)
        if side == canvas or (canvas is None and whole and side >= size):
            return cells
        if canvas is not None and side > canvas:
            break
        before = side
    near = " and ".join(str(n) for n in (before, side) if n)
    raise ValueError(
        f"canvas={canvas}: no odd pooled map results in {canvas} pixels; the nearest are {near}"
    )


def _project_to_pixels(
    cells: Tensor, steps: Sequence[_BackwardStep], rectify: str, upsample: str
) -> Tensor:
    remaining = sum(isinstance(step.layer, nn.Conv2d) for step in steps)
    for layer, stride, _, before, beyond in steps:
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight.to(cells)
            cells = conv_transpose2d(
                cells, weight, None, stride, before, 0, layer.groups, layer.dilation
            )
            height, width = cells.shape[-2:]
            cells = cells[..., : height - beyond[0], : width - beyond[1]]
            remaining -= 1
            if rectify == "every" or (rectify == "inner" and remaining):
                cells = cells.relu()
        elif upsample == "repeat":
            cells = cells.repeat_interleave(stride[0], 2).repeat_interleave(stride[1], 3)
        else:
            batch, channels, height, width = cells.shape
            spread = cells.new_zeros(batch, channels, height * stride[0], width * stride[1])
            spread[..., :: stride[0], :: stride[1]] = cells
            cells = spread
    return cells
