"""Controls of a network: copies that learnt nothing, or learnt something else."""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from deepsal.rf.hooks import device_generator


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


def shuffled_copy(network: nn.Module, seed: int) -> nn.Module:
    """Return a copy with shuffled kernels: the control for the spatial structure of kernels.

    The weights of each k×k kernel (one output, one input) change places, each kernel in its own
    order: mean, variance and histogram of every kernel stay. A 1×1 kernel has one weight; there the
    weights of each output change places over its inputs (a depthwise 1×1 kernel stays as it is).
    Everything else, batch norm and biases included, stays.

    Args:
        network: any network; it stays as it is.
        seed: seed of the orders.

    Raises:
        ValueError: there is no `nn.Conv2d`, or the weight of one is computed (weight norm).

    >>> network = nn.Conv2d(3, 2, 3)
    >>> new = shuffled_copy(network, seed=0).weight
    >>> torch.equal(new, network.weight)
    False
    >>> torch.equal(new.flatten(2).sort().values, network.weight.flatten(2).sort().values)
    True
    """
    copy = deepcopy(network)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for convolution in _convolutions(copy):
            weight = convolution.weight
            flat = weight.flatten(2)
            flat = flat.transpose(1, 2) if flat.shape[2] == 1 else flat
            order = torch.rand(flat.shape, generator=random).argsort(-1).to(weight.device)
            mixed = flat.gather(-1, order)
            weight.copy_(mixed.reshape(weight.shape))
    return copy


def flat_kernel_copy(network: nn.Module) -> nn.Module:
    """Return a copy with flat kernels: the control for kernel sizes, strides and poolings alone.

    All weights of a convolution are 1/fan-in, so that a constant image keeps its value. Biases are
    0. Batch norm is neutral as in `untrained_copy`, so it divides by √(1 + ε). Other layers stay.

    Raises:
        ValueError: no `reset_parameters` reaches running statistics; and the errors of
            `shuffled_copy`.

    >>> flat = flat_kernel_copy(nn.Conv2d(3, 2, 3))
    >>> [round(w, 4) for w in flat.weight.unique().tolist()], flat.bias.tolist()
    ([0.037], [0.0, 0.0])
    """
    flat = deepcopy(network)
    frozen = _frozen_statistics(flat)
    if frozen:
        raise ValueError(f"{frozen} cannot be made neutral: no `reset_parameters` reaches them")
    with torch.no_grad():
        for convolution in _convolutions(flat):
            convolution.weight.fill_(1 / convolution.weight[0].numel())
            if convolution.bias is not None:
                convolution.bias.zero_()
    for module in flat.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_parameters()
    return flat


def control_networks(
    network: nn.Module, other_task: nn.Module | None = None, seeds: Sequence[int] = (0,)
) -> dict[str, nn.Module]:
    """Return all controls of a network by name.

    Args:
        network: the network to explain; it stays as it is.
        other_task: the same architecture with weights for another task, returned as it is.
        seeds: seeds of the random controls.

    Returns:
        "untrained/{seed}" and "shuffled/{seed}" for each seed, "flat_kernels", and "other_task"
        unless it is None.

    Raises:
        ValueError: `other_task` has other parameters; and the errors of the controls.

    >>> [*control_networks(nn.Conv2d(3, 2, 3), seeds=(0, 1))]
    ['untrained/0', 'untrained/1', 'shuffled/0', 'shuffled/1', 'flat_kernels']
    """
    controls = {f"untrained/{seed}": untrained_copy(network, seed) for seed in seeds}
    controls |= {f"shuffled/{seed}": shuffled_copy(network, seed) for seed in seeds}
    controls["flat_kernels"] = flat_kernel_copy(network)
    if other_task is not None:
        shapes, others = (
            {n: p.shape for n, p in m.named_parameters()} for m in (network, other_task)
        )
        if differ := sorted(n for n in shapes | others if shapes.get(n) != others.get(n)):
            raise ValueError(
                f"other_task is not the same architecture as network: {len(differ)} parameters "
                f"differ in name or shape, such as {differ[:3]}"
            )
        controls["other_task"] = other_task
    return controls


def _frozen_statistics(network: nn.Module) -> list[str]:
    """Return names of running statistics (FrozenBatchNorm2d's) that nothing resets."""
    return [
        f"{name}.running_mean".lstrip(".")
        for name, module in network.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
        and not hasattr(module, "reset_parameters")
    ]


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    named = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    if not named:
        raise ValueError(
            f"{type(network).__name__} has no nn.Conv2d, whose kernels this control needs"
        )
    computed = [n for n, m in named.items() if not isinstance(m.weight, nn.Parameter)]
    if computed:
        raise ValueError(f"the weights of {computed} are computed: remove their parametrisation")
    return [*named.values()]
