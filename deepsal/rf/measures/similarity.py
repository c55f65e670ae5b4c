"""Similarity of fields, and of representations, before and after training.

Fields `before` and `after` are (U, 3, h, w) or (U, h, w), the same units in the same order; other
or different shapes raise a ValueError. A field that is missing (NaN) or zero gives NaN.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from torch import Tensor, nn

from deepsal.rf.hooks import find_layer, temporary_eval_mode
from deepsal.rf.measures.profile import Field, FloatArray


def field_gain(before: Field | FloatArray, after: Field | FloatArray) -> FloatArray:
    """Return the factor by which each unit's field grew, (U,).

    g = ⟨w0, w1⟩ / ⟨w0, w0⟩ over pixels and colours, the factor that brings g·w0 closest to w1.

    >>> field = np.ones((1, 3, 2, 2))
    >>> field_gain(field, 5 * field).tolist()
    [5.0]
    """
    started, both, _ = _inner_products(before, after)
    return both / started


def field_cosine(before: Field | FloatArray, after: Field | FloatArray) -> FloatArray:
    """Return the cosine of each unit's two fields, whatever their gain, (U,).

    ⟨w0, w1⟩ / (‖w0‖ ‖w1‖) over pixels and colours. −1 for a unit whose ON field became the same
    OFF field. Unlike `field_correlation`, the mean counts, and with it a field's net response.
    1 − cosine² is the part of w1's energy that g·w0 leaves unexplained, g the `field_gain`.

    >>> field = np.arange(12.0).reshape(1, 3, 2, 2)
    >>> field_cosine(field, -5 * field).round(6).tolist()
    [-1.0]
    """
    started, both, ended = _inner_products(before, after)
    return both / np.sqrt(started * ended)


def field_correlation(before: Field | FloatArray, after: Field | FloatArray) -> FloatArray:
    """Return the Pearson correlation of each unit's two fields over pixels and colours, (U,).

    The `field_cosine` of the fields without their means: 1 for a field that only grew, NaN for a
    constant one.

    >>> field = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    >>> field_correlation(field, 5 * field).round(6).tolist()
    [1.0]
    """
    flat = (w.reshape(len(w), 1, -1).astype(np.float64) for w in (before, after))
    return field_cosine(*(w - w.mean(2, keepdims=True) for w in flat))


def field_shift(before: Field | FloatArray, after: Field | FloatArray) -> FloatArray:
    """Return the shift of each unit's field, (U, 2): pixels down and to the right.

    The peak of the cross-correlation of the luminance fields (zero outside the array), refined by
    a parabola through its neighbours on each axis. Only like polarity counts: the shift of a unit
    that changed sign (`field_cosine` near −1) means nothing.

    >>> before, after = np.zeros((2, 1, 3, 9, 9))
    >>> before[..., 4, 4], after[..., 6, 3] = 1, 1
    >>> field_shift(before, after).tolist()
    [[2.0, -1.0]]
    """
    _validate(before, after)
    fields = (w.mean(1) if w.ndim == 4 else w for w in (before, after))
    return np.array([_peak_shift(w0, w1) for w0, w1 in zip(*fields, strict=True)]).reshape(-1, 2)


def linear_cka(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Return the linear centred kernel alignment of two representations, 0 to 1.

    ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F), columns centred; Kornblith, Norouzi, Lee & Hinton 2019,
    "Similarity of Neural Network Representations Revisited" (arXiv 1905.00414). Rotations of the
    features and gain do not change it. It is biased towards 1 unless samples are many times as
    many as features: compare values from the same images only.

    Args:
        x: (n, p), responses to n samples.
        y: (n, q), responses to the same samples.

    Returns:
        The alignment; NaN for fewer than 3 samples (2 always align), or where one side is constant
        or not finite.

    Raises:
        ValueError: `x` and `y` are not two matrices of equally many samples.

    >>> x = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])
    >>> round(linear_cka(x, 3 * x[:, ::-1] + 7), 6)
    1.0
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"x {x.shape} and y {y.shape} must be (samples, features), samples alike")
    if len(x) < 3 or not all(np.isfinite(m).all() and np.ptp(m, 0).any() for m in (x, y)):
        return float("nan")
    a, b = (m.astype(np.float64) - m.mean(0, dtype=np.float64) for m in (x, y))
    if (
        a.shape[1] * b.shape[1] > len(a) ** 2
    ):  # fewer samples than features: their products are smaller
        k, m = a @ a.T, b @ b.T
        alike, norms = (k * m).sum(), np.linalg.norm(k) * np.linalg.norm(m)
    else:
        alike = np.square(b.T @ a).sum()
        norms = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(alike / norms)


def debiased_cka(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Return the linear centred kernel alignment of two representations without its bias.

    HSIC of the kernels K = XXᵀ and L = YYᵀ without their diagonals, in the unbiased form of Song et
    al. 2012 (J. Mach. Learn. Res. 13:1393, equation 5); HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)).
    Unrelated representations give 0 on average, whatever the number of samples.

    Args:
        x: (n, p), responses to n samples.
        y: (n, q), responses to the same samples.

    Returns:
        The alignment; NaN for fewer than 4 samples, or where a side is constant or not finite.

    Raises:
        ValueError: `x` and `y` are not two matrices of equally many samples.

    >>> random = np.random.default_rng(0)
    >>> x, y = random.normal(size=(2, 40, 90))
    >>> abs(debiased_cka(x, y)) < 0.1 < linear_cka(x, y), round(debiased_cka(x, 3 * x), 6)
    (True, 1.0)
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"x {x.shape} and y {y.shape} must be (samples, features), samples alike")
    n = len(x)
    if n < 4 or not all(np.isfinite(m).all() and np.ptp(m, 0).any() for m in (x, y)):
        return float("nan")
    centred = (m.astype(np.float64) - m.mean(0, dtype=np.float64) for m in (x, y))
    k, m = (a @ a.T for a in centred)
    for kernel in (k, m):
        np.fill_diagonal(kernel, 0)

    def hsic(a: FloatArray, b: FloatArray) -> float:
        rows = a.sum(1), b.sum(1)
        within = (a * b).sum() + rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2))
        return float(within - 2 / (n - 2) * (rows[0] * rows[1]).sum())

    norms = hsic(k, k) * hsic(m, m)
    return hsic(k, m) / float(np.sqrt(norms)) if norms > 0 else float("nan")


def sample_activations(
    network: nn.Module,
    names: Sequence[str],
    images: Float[Tensor, "B 3 H W"],
    grid: int = 4,
    batch: int = 8,
) -> dict[str, NDArray[np.float32]]:
    """Sample the activations of layers for `linear_cka`, all layers in one pass.

    A sample is one position in one image: the centre of one of `grid` × `grid` equal cells of the
    map (every position of a smaller map), so n = B · grid². Positions are read, not pooled, so that
    a sample is the response of single units. Two networks of one architecture are read at the same
    positions.

    Args:
        network: any module that takes images like `images`; it is left as it was.
        names: dotted names of layers; the first call counts for a layer that runs several times.
        images: (B, 3, H, W), normalised as the network expects.
        grid: positions along a side.
        batch: images per forward pass.

    Returns:
        (n, channels) for each name.

    Raises:
        ValueError: there is no such layer, the forward pass does not reach it, its output is not
            (B, C, h, w), or `grid` or `batch` is below 1.

    >>> network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
    >>> samples = sample_activations(network, ["0", "1"], torch.ones(2, 3, 9, 9))
    >>> {layer: sample.shape for layer, sample in samples.items()}
    {'0': (32, 5), '1': (32, 5)}
    """
    if grid < 1 or batch < 1:
        raise ValueError(f"grid and batch must be 1 or more; they are {grid} and {batch}")
    modules = {name: find_layer(network, name) for name in names}
    images = images.to(next(network.parameters(), images))
    samples: dict[str, list[Tensor]] = {name: [] for name in names}
    with temporary_eval_mode(network), torch.no_grad(), ExitStack() as stack:
        outputs: dict[str, Tensor] = {}
        for name, module in modules.items():
            handle = module.register_forward_hook(partial(_store_sample, outputs, name, grid))
            stack.callback(handle.remove)
        for part in images.split(batch):
            outputs.clear()
            network(part)
            if missing := [name for name in names if name not in outputs]:
                raise ValueError(f"the network's forward pass does not run through {missing}")
            for name, sample in outputs.items():
                samples[name].append(sample)
    return {name: torch.cat(parts).float().cpu().numpy() for name, parts in samples.items()}


def _validate(before: Field | FloatArray, after: Field | FloatArray) -> None:
    if before.shape != after.shape or before.ndim not in (3, 4):
        raise ValueError(
            f"before {before.shape} and after {after.shape} must be fields (U, 3, h, w) or "
            "(U, h, w) of the same units"
        )


def _inner_products(before: Field | FloatArray, after: Field | FloatArray) -> list[FloatArray]:
    """Return ⟨w0, w0⟩, ⟨w0, w1⟩ and ⟨w1, w1⟩ of each unit; NaN for 0 of a field with itself."""
    _validate(before, after)
    axes = tuple(range(1, before.ndim))
    pairs = (before, before), (before, after), (after, after)
    own, both, other = ((a * b).sum(axes, dtype=np.float64) for a, b in pairs)
    return [np.where(own == 0, np.nan, own), both, np.where(other == 0, np.nan, other)]


def _peak_shift(w0: NDArray[Any], w1: NDArray[Any]) -> list[float]:
    if not (np.isfinite([w0, w1]).all() and w0.any() and w1.any()):
        return [np.nan, np.nan]
    alike = fftconvolve(w1, w0[::-1, ::-1])
    peak = np.unravel_index(alike.argmax(), alike.shape)
    moved = []
    for at, line, side in zip(peak, (alike[:, peak[1]], alike[peak[0]]), w0.shape, strict=True):
        below, top, above = (line[i] if 0 <= i < len(line) else 0 for i in (at - 1, at, at + 1))
        bend = below - 2 * top + above
        moved.append(float(at - (side - 1) + ((below - above) / (2 * bend) if bend < 0 else 0)))
    return moved


def _store_sample(
    outputs: dict[str, Tensor], name: str, grid: int, _module: nn.Module, _inputs: Any, output: Any
) -> None:
    if not isinstance(output, Tensor) or output.dim() != 4:
        shape = getattr(output, "shape", type(output).__name__)
        raise ValueError(f"{name} gives {shape}; samples need (B, C, h, w)")
    rows, columns = (
        [int((i + 0.5) * side / min(grid, side)) for i in range(min(grid, side))]
        for side in output.shape[2:]
    )
    sample = output[:, :, rows][..., columns].permute(0, 2, 3, 1).flatten(0, 2)
    outputs.setdefault(name, sample)


StateDict = Mapping[str, Tensor]


def weight_displacement(
    before: nn.Module | StateDict, after: nn.Module | StateDict, names: Sequence[str]
) -> dict[str, float]:
    """Return the displacement of the weights of layers or stages, relative to their norm.

    ‖W1 − W0‖ / ‖W0‖, W all kernels and matrices (tensors of two axes and more) of the layer;
    biases and batch norm do not count. NaN where ‖W0‖ is 0.

    Args:
        before: a network or its state dict.
        after: the same network or state dict after training.
        names: dotted names of layers; the submodules of a layer belong to it.

    Returns:
        `{name: displacement}`.

    Raises:
        ValueError: a layer has no such weights, or weights differ in name or shape.

    >>> network = nn.Sequential(nn.Conv2d(3, 2, 3))
    >>> moved = {"0.weight": 1.5 * network[0].weight}
    >>> {name: round(d, 6) for name, d in weight_displacement(network, moved, ["0"]).items()}
    {'0': 0.5}
    """
    w0, w1 = (
        {n: w.detach() for n, w in state.items() if w.dim() > 1}
        for state in (s.state_dict() if isinstance(s, nn.Module) else s for s in (before, after))
    )
    displacement = {}
    for name in names:
        keys = [key for key in w0 | w1 if key.startswith(f"{name}.")]
        shapes = {k: [tuple(w[k].shape) if k in w else None for w in (w0, w1)] for k in keys}
        wrong = {k: pair for k, pair in shapes.items() if pair[0] != pair[1]}
        if not keys:
            raise ValueError(f"no weights below {name!r}; the network has {[*w0]}")
        if wrong:
            raise ValueError(f"weights differ in shape before and after: {wrong}")
        changed = sum(float((w1[k].to(w0[k]) - w0[k]).double().square().sum()) for k in keys)
        started = sum(float(w0[k].double().square().sum()) for k in keys)
        displacement[name] = (changed / started) ** 0.5 if started else float("nan")
    return displacement
