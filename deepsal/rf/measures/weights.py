"""How far weights moved while a network learnt, and how far their mean is from zero."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

StateDict = Mapping[str, Tensor]


def weight_displacement(
    before: nn.Module | StateDict, after: nn.Module | StateDict, names: Sequence[str]
) -> dict[str, float]:
    """Return how far the weights of layers or stages moved, relative to where they started.

    ‖W1 − W0‖ / ‖W0‖, W all kernels and matrices (tensors of two axes and more) of the layer;
    biases and batch norm do not count. NaN where ‖W0‖ is 0.

    Args:
        before: a network or its state dict.
        after: the same, later.
        names: dotted names of layers, with everything below them.

    Raises:
        ValueError: a name without such weights, or weights that differ in name or shape.

    >>> network = nn.Sequential(nn.Conv2d(3, 2, 3))
    >>> moved = {"0.weight": 1.5 * network[0].weight}
    >>> {name: round(d, 6) for name, d in weight_displacement(network, moved, ["0"]).items()}
    {'0': 0.5}
    """
    w0, w1 = (
        {n: w.detach() for n, w in state.items() if w.dim() > 1}
        for state in (s.state_dict() if isinstance(s, nn.Module) else s for s in (before, after))
    )
    moved = {}
    for name in names:
        keys = [key for key in w0 | w1 if key.startswith(f"{name}.")]
        shapes = {k: [tuple(w[k].shape) if k in w else None for w in (w0, w1)] for k in keys}
        wrong = {k: pair for k, pair in shapes.items() if pair[0] != pair[1]}
        if not keys:
            raise ValueError(f"no weights below {name!r}; there are {[*w0]}")
        if wrong:
            raise ValueError(f"weights differ in shape before and after: {wrong}")
        changed = sum(float((w1[k].to(w0[k]) - w0[k]).double().square().sum()) for k in keys)
        started = sum(float(w0[k].double().square().sum()) for k in keys)
        moved[name] = (changed / started) ** 0.5 if started else float("nan")
    return moved


class WeightStatistics(NamedTuple):
    """Mean and standard deviation of one layer's weights."""

    mean: float
    deviation: float


def weight_statistics(network: nn.Module) -> dict[str, WeightStatistics]:
    """Return the mean weight of each convolution, beside the spread that it must be judged by.

    A mean of a few hundredths of a standard deviation suffices for back-projected patterns to sum
    up to a smooth blob (He & Pugeault's method on untrained weights).

    >>> network = nn.Sequential(nn.Conv2d(1, 1, 2))
    >>> _ = nn.init.constant_(network[0].weight, 2)
    >>> weight_statistics(network)
    {'0': WeightStatistics(mean=2.0, deviation=0.0)}
    """
    kernels = {
        name: module.weight.detach().double()
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    return {
        n: WeightStatistics(float(w.mean()), float(w.std(correction=0))) for n, w in kernels.items()
    }
