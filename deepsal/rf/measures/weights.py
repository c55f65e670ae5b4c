"""Displacement of weights by training."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

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
