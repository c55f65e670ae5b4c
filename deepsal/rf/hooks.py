"""Hooks that read the units of a network and leave it unchanged."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from deepsal.rf.arithmetic import full_precision

NONLINEAR_OPERATORS = {
    *("relu", "prelu", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus", "threshold"),
    *("sigmoid", "tanh", "softmax", "hardtanh", "hardswish", "hardsigmoid", "log_sigmoid_forward"),
    *("prelu_kernel", "rrelu_with_noise", "celu", "glu", "softshrink", "hardshrink"),
    *("clamp", "clamp_min"),  # a rectifier written by hand
}


class _LayerReachedError(Exception):
    """Raised at the output of a layer to end the forward pass."""


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """Return a submodule by its dotted name.

    Raises:
        ValueError: no such module (the message lists the names at the first wrong step), or the
            network is compiled.

    >>> find_layer(nn.Sequential(nn.ReLU()), "1")
    Traceback (most recent call last):
    ValueError: no layer '1': Sequential has ['0'], not '1'
    """
    module = _require_uncompiled(network)
    for step in name.split("."):
        children = dict(module.named_children())
        if step not in children:
            parent = type(module).__name__
            raise ValueError(f"no layer {name!r}: {parent} has {[*children]}, not {step!r}")
        module = _require_uncompiled(children[step])
    return module


def _require_uncompiled(module: nn.Module) -> nn.Module:
    if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
        raise ValueError(
            f"{type(module).__name__} is compiled, and hooks do not fire in compiled code; use "
            "the uncompiled module (`_orig_mod`, or a copy made before `compile()`)"
        )
    return module


def unit_numbers(
    units: int | Sequence[int], channels: Mapping[str, int], option: str
) -> dict[str, list[int]]:
    """Return the channel numbers of the units that an option chooses in each stage.

    Args:
        units: the first so many channels of each stage, or their numbers.
        channels: number of channels of each stage.
        option: name of the option, for the error.

    Raises:
        ValueError: no unit is chosen, or a stage has fewer channels.

    >>> unit_numbers(3, {"conv1": 2, "conv2": 4}, "rf.units")
    {'conv1': [0, 1], 'conv2': [0, 1, 2]}
    """
    numbers: dict[str, list[int]] = {}
    for stage, count in channels.items():
        selected = range(min(units, count)) if isinstance(units, int) else units
        if not selected or not 0 <= min(selected) <= max(selected) < count:
            raise ValueError(f"{option}={units}: {stage} has units 0 … {count - 1}")
        numbers[stage] = [int(unit) for unit in selected]
    return numbers


@contextmanager
def temporary_eval_mode(network: nn.Module) -> Iterator[None]:
    """Put the network in eval mode with gradients to the input only, and restore it at the end.

    Float32 is computed in full (`full_precision`). At the end, also after an exception, these are
    as before: each module's training flag, `requires_grad`, the random generators of torch, numpy
    and Python, and the grad and inference modes.
    """
    training = {module: module.training for module in network.modules()}
    learning = {parameter: parameter.requires_grad for parameter in network.parameters()}
    states = random.getstate(), np.random.get_state()
    devices = {p.device.index or 0 for p in network.parameters() if p.is_cuda}
    device = next((p.device.type for p in network.parameters()), "cpu")
    try:
        with (
            torch.random.fork_rng(devices),
            torch.inference_mode(False),
            torch.enable_grad(),
            full_precision(device),
        ):
            try:
                for module in training:
                    module.training = False
                for parameter in learning:
                    parameter.requires_grad_(False)
                yield
            finally:
                for module, flag in training.items():
                    module.training = flag
                for parameter, flag in learning.items():
                    parameter.requires_grad_(flag)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def device_generator(device: torch.device) -> torch.Generator:
    """Return the random generator of one device; `torch.manual_seed` would seed all devices."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[device.index or 0]


def forward_until(network: nn.Module, module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function that runs the network up to `module` and returns the module's output.

    Its hook is registered inside the call, so it fires after earlier hooks (Captum's), and is
    removed when the call ends.

    Raises:
        ValueError: in the call, if the forward pass does not run through the module.
    """

    def forward(image: Tensor) -> Tensor:
        reached: list[Tensor] = []

        def stop(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            reached.append(output)
            raise _LayerReachedError

        with module.register_forward_hook(stop):
            try:
                network(image)
            except _LayerReachedError:
                return reached[0]
        raise ValueError("the network's forward pass does not run through the layer")

    return forward


def find_final_rectifier(
    network: nn.Module, module: nn.Module, image: Tensor
) -> tuple[nn.Module | None, Tensor]:
    """Return the rectifier that a layer ends in, or None, and the layer's output before it.

    A silent unit has no gradient behind its rectifier, so fields are computed at its input. The
    rectifier is the last ReLU called on `image` (B, 3, h, w), if its result is the layer's output.
    """
    last: list[tuple[nn.Module, Tensor, Tensor]] = []
    inputs_before: list[Tensor] = []

    def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        inputs_before[:] = [inputs[0].clone()]  # it may work in place

    def after(module: nn.Module, _inputs: object, output: Tensor) -> None:
        last[:] = [(module, inputs_before[0], output.clone())]

    with ExitStack() as hooks, torch.no_grad():
        for m in module.modules():
            if isinstance(m, nn.ReLU | nn.ReLU6):
                hooks.enter_context(m.register_forward_pre_hook(before))
                hooks.enter_context(m.register_forward_hook(after))
        output = forward_until(network, module)(image)
    if last and torch.equal(last[0][2], output):
        return last[0][0], last[0][1]
    return None, output


def unsupported_nonlinearities(network: nn.Module, module: nn.Module, image: Tensor) -> str:
    """Return the names of the nonlinearities up to a layer that are not `nn.ReLU` modules.

    Captum's guided backpropagation and deconvolution override `nn.ReLU` modules, and silently give
    the plain gradient for every other nonlinearity.

    Returns:
        The names, separated by commas; "" for none.
    """
    modules: list[nn.Module] = []
    operators: list[str] = []

    def record(func: Any, _arguments: object) -> None:
        operators.append(func.overloadpacket.__name__.strip("_"))

    with ExitStack() as hooks, OperatorObserver(record), torch.no_grad():
        for m in network.modules():
            if isinstance(m, nn.ReLU):
                hooks.enter_context(m.register_forward_hook(lambda m, *_: modules.append(m)))
        forward_until(network, module)(image)
    others = sorted(NONLINEAR_OPERATORS.intersection(operators) - {"relu"})
    if operators.count("relu") > len(modules):
        others.append("functional relu")
    return ", ".join(others)


class OperatorObserver(TorchDispatchMode):
    """Mode that calls a function with every operator that runs and its arguments."""

    def __init__(self, observe: Callable[[Any, tuple[Any, ...]], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.observe = observe

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator."""
        self.observe(func, args)
        return func(*args, **kwargs or {})
