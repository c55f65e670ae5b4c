"""Controls of a tuned network: copies that learnt nothing, or got a part of what tuning changed.

Every control is alive: its batch norm is fed with the images before its fields are measured.
"""

import math
from collections.abc import Collection
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepsal.rf.hooks import device_generator

BUILT_IN_CONTROLS = {
    "untrained": "random weights",
    "bn_only": "the weights before training, batch-norm statistics of the images",
    "displaced": "each tensor moved in a random direction as far as tuning moved it",
    "weights_only": "the tuned weights, batch-norm statistics before training",
    "weights_reestimated": "the tuned weights, batch-norm statistics of the images",
}
"""Controls that are made from the networks before and after training."""
IMAGES_PER_PASS = 16


def untrained_copy(network: nn.Module, seed: int) -> nn.Module:
    """Return a copy with fresh random weights: the control for the architecture alone.

    Each module draws by its own `reset_parameters`, a container after its parts. For torch's
    layers that is torch's *default* initialisation (Kaiming-uniform with a = √5 for convolutions),
    not the recipe of the network's authors. Batch norm becomes neutral: weight 1, bias 0, running
    mean 0 and variance 1.

    Args:
        network: any network; it stays as it is.
        seed: equal seeds give equal weights; the global random generators stay as they are.

    Raises:
        ValueError: no `reset_parameters` reaches a parameter or running statistic, which would
            stay trained.

    >>> trained = nn.Conv2d(3, 2, 3)
    >>> fresh = untrained_copy(trained, seed=0)
    >>> torch.equal(fresh.weight, untrained_copy(trained, seed=0).weight)
    True
    >>> torch.equal(fresh.weight, trained.weight)
    False
    """
    fresh = deepcopy(network)
    devices = {p.device for p in fresh.parameters()}
    with (
        torch.random.fork_rng([d.index or 0 for d in devices if d.type == "cuda"]),
        torch.no_grad(),
    ):
        for device in devices:
            device_generator(device).manual_seed(seed)
        for parameter in fresh.parameters():
            parameter.fill_(math.nan)  # a parameter that stays NaN was not reset
        for module in reversed([*fresh.modules()]):
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    missed = [n for n, p in fresh.named_parameters() if p.isnan().any()] + _frozen_statistics(fresh)
    if missed:
        raise ValueError(
            f"no `reset_parameters` reaches {missed}: they would stay trained; give a part of the "
            "network without them, such as its backbone"
        )
    return fresh


def reestimate_statistics(
    network: nn.Module, images: Float[Tensor, "N 3 H W"], names: Collection[str] | None = None
) -> None:
    """Replace running statistics of batch norm by those of images, in place.

    Statistics are averaged over passes of 16 images, in which these layers use their own batch.
    Everything else of the network, its mode included, stays.

    Args:
        network: its other layers are read in eval mode.
        images: in the network's own scale.
        names: of batch-norm layers; None for all.
    """
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and (names is None or name in names)
    }
    if not layers:
        return
    modes = [(module, module.training) for module in network.modules()]
    momenta = [(layer, layer.momentum) for layer in layers.values()]
    network.eval()
    try:
        for layer in layers.values():
            layer.reset_running_stats()
            layer.momentum = None  # the plain average over passes
            layer.training = True
        with torch.no_grad():
            for part in images.split(IMAGES_PER_PASS):
                network(part.to(next(network.parameters())))
    finally:
        for module, mode in modes:
            module.training = mode
        for layer, momentum in momenta:
            layer.momentum = momentum


def changed_statistics(before: nn.Module, after: nn.Module) -> list[str]:
    """Return names of batch-norm layers whose running statistics differ between two networks."""
    ends = dict(after.named_buffers())
    changed = [
        name.rpartition(".")[0]
        for name, buffer in before.named_buffers()
        if name.endswith(("running_mean", "running_var")) and not torch.equal(buffer, ends[name])
    ]
    return [*dict.fromkeys(changed)]


def displaced_copy(before: nn.Module, after: nn.Module, seed: int) -> nn.Module:
    """Return the network before training, displaced at random as far as training displaced it.

    Each parameter tensor moves in a random direction by the norm of its own change. Running
    statistics stay those before training.

    >>> before, after = nn.Linear(3, 3), nn.Linear(3, 3)
    >>> moved = displaced_copy(before, after, seed=0)
    >>> far = [(m.weight - before.weight).norm().item() for m in (moved, after)]
    >>> abs(far[0] - far[1]) < 1e-5
    True
    """
    copy = deepcopy(before)
    random = torch.Generator().manual_seed(seed)
    ends = dict(after.named_parameters())
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            length = (ends[name] - parameter).norm()
            direction = torch.randn(parameter.shape, generator=random).to(parameter)
            if length > 0:
                parameter.add_(direction * (length / direction.norm()))
    return copy


def weights_only_copy(before: nn.Module, after: nn.Module) -> nn.Module:
    """Return the tuned weights with the running statistics before training."""
    copy = deepcopy(after)
    state = dict(before.named_buffers())
    with torch.no_grad():
        for name, buffer in copy.named_buffers():
            buffer.copy_(state[name])
    return copy


def built_in_control(
    kind: str, before: nn.Module, after: nn.Module, images: Float[Tensor, "N 3 H W"], seed: int
) -> nn.Module | None:
    """Return a control of `BUILT_IN_CONTROLS`, in eval mode; the two networks stay as they are.

    Args:
        kind: its name.
        before: the network before training.
        after: the network after it.
        images: for batch norm. Where training left a layer's statistics, the control leaves them
            too; an untrained network gets new ones everywhere.
        seed: of random weights and directions.

    Returns:
        None for one that would equal the network before or after, because training changed no
        weights, or no statistics.

    Raises:
        ValueError: no such control, or the errors of `untrained_copy`.
    """
    if kind not in BUILT_IN_CONTROLS:
        raise ValueError(
            f"claims.built_in: no control {kind!r}; the choices are {[*BUILT_IN_CONTROLS]}"
        )
    changed = changed_statistics(before, after)
    if kind == "untrained":
        control = untrained_copy(before, seed).eval()
        reestimate_statistics(control, images)
        return control
    if kind == "displaced":
        ends = dict(after.named_parameters())
        if all(torch.equal(p, ends[name]) for name, p in before.named_parameters()):
            return None
        control = displaced_copy(before, after, seed).eval()
    elif not changed:
        return None
    elif kind == "weights_only":
        return weights_only_copy(before, after).eval()
    else:
        control = deepcopy(before if kind == "bn_only" else after).eval()
    reestimate_statistics(control, images, changed)
    return control


def _frozen_statistics(network: nn.Module) -> list[str]:
    """Return names of running statistics (FrozenBatchNorm2d's) that nothing resets."""
    return [
        f"{name}.running_mean".lstrip(".")
        for name, module in network.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
        and not hasattr(module, "reset_parameters")
    ]
