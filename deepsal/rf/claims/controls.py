"""What a network shows that learnt nothing: the controls that every measure is read against."""

import math
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from deepsal.rf.geometry import chain_geometry
from deepsal.rf.hooks import device_generator


def untrained_copy(network: nn.Module, seed: int) -> nn.Module:
    """Return a copy with fresh random weights: what the architecture alone shows.

    Each module draws by its own `reset_parameters`, a container after its parts. For torch's
    layers that is torch's *default* initialisation (Kaiming-uniform with a = √5 for convolutions),
    not the recipe with which the network's authors started. Batch norm becomes neutral: weight 1,
    bias 0, running mean 0 and variance 1. Equal seeds give equal weights; the global random
    generators stay as they are.

    Raises:
        ValueError: a parameter or running statistic that no `reset_parameters` reaches, which
            would stay trained.

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
            parameter.fill_(math.nan)  # whatever stays NaN was not reset
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
    """Return a copy whose kernels keep their weights and lose their spatial structure.

    The weights of each k×k kernel (one output, one input) change places, each kernel in its own
    order: mean, variance and histogram of every kernel are kept. A 1×1 kernel has one weight and
    no space: there, the weights of each output change places over its inputs (a depthwise 1×1
    stays as it is). Everything else, batch norm and biases included, is kept.

    Raises:
        ValueError: no `nn.Conv2d`, or one whose weight is computed from others (weight norm).

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
    """Return a copy whose kernels are flat: what kernel sizes, strides and poolings alone show.

    All weights of a convolution are 1/fan-in, so that a constant image keeps its value; biases are
    0; batch norm is neutral (as in `untrained_copy`, so it divides by √(1 + ε)). Other layers are
    kept.

    Raises:
        ValueError: as `shuffled_copy`; or running statistics that no `reset_parameters` reaches.

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


def geometric_sigma(modules: Iterable[nn.Module]) -> float:
    """Return the width, in pixels, of the field that all-ones kernels give, in closed form.

    Flat kernels are convolved, so their variances add, and the field tends to a Gaussian:
    σ² = Σ_l v_l · (Π_{i<l} s_i)², strides s, with v = d²(k² − 1)/12 for a convolution of k taps d
    pixels apart, and v = (s² − 1)/12 for a pooling, which the image-free back-projection of He &
    Pugeault (arXiv 1801.04261) undoes by repeating each value s times. Of a kernel that is not
    square, the mean of both axes' variances counts.

    Args:
        modules: what `deepsal.rf.chain_geometry` takes, such as `vgg19().features`.

    Raises:
        ValueError: a layer for which there is no closed form.

    >>> vgg19 = []
    >>> for convolutions in (2, 2, 4, 4, 4):
    ...     vgg19 += [nn.Conv2d(3, 3, 3, padding=1) for _ in range(convolutions)]
    ...     vgg19 += [nn.MaxPool2d(2)]
    >>> round(geometric_sigma(vgg19), 1)
    31.4
    """
    variance, stride = np.zeros(2), np.ones(2)
    for module in _leaf_modules(modules):
        step = np.array(chain_geometry([module]).stride)
        if isinstance(module, nn.Conv2d):
            taps, apart = np.array(module.kernel_size), np.array(module.dilation)
            variance += stride**2 * apart**2 * (taps**2 - 1) / 12
        else:
            variance += stride**2 * (step**2 - 1) / 12
        stride *= step
    return float(np.sqrt(variance.mean()))


def control_networks(
    network: nn.Module, other_task: nn.Module | None = None, seeds: Sequence[int] = (0,)
) -> dict[str, nn.Module]:
    """Return all controls of a network, to send through one pipeline.

    Args:
        network: the one to explain; it stays as it is.
        other_task: the same architecture with weights for another task, passed on as it is.
        seeds: of the random controls, one each.

    Returns:
        "untrained/{seed}" and "shuffled/{seed}" for each seed, "ones", and "other_task" if given.

    Raises:
        ValueError: as the controls do; or `other_task` has other parameters.

    >>> [*control_networks(nn.Conv2d(3, 2, 3), seeds=(0, 1))]
    ['untrained/0', 'untrained/1', 'shuffled/0', 'shuffled/1', 'ones']
    """
    controls = {f"untrained/{seed}": untrained_copy(network, seed) for seed in seeds}
    controls |= {f"shuffled/{seed}": shuffled_copy(network, seed) for seed in seeds}
    controls["ones"] = flat_kernel_copy(network)
    if other_task is not None:
        expected, given = (
            {n: p.shape for n, p in m.named_parameters()} for m in (network, other_task)
        )
        other = sorted(n for n in expected.keys() | given if expected.get(n) != given.get(n))
        if other:
            raise ValueError(
                f"other_task is not the same architecture as network: {len(other)} parameters "
                f"differ in name or shape, such as {other[:3]}"
            )
        controls["other_task"] = other_task
    return controls


def _frozen_statistics(network: nn.Module) -> list[str]:
    """Names of running statistics (torchvision's FrozenBatchNorm2d) that nothing resets."""
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


def _leaf_modules(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for module in modules:
        if type(module) is nn.Sequential:
            yield from _leaf_modules(module)
        else:
            yield module
