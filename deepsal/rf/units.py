"""Looking at the units of a network without changing it."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


class _ReachedError(Exception):
    """The probed layer has been computed: the rest of the forward pass is not needed."""


def layer(network: nn.Module, name: str) -> nn.Module:
    """Return a submodule by its dotted name.

    Raises:
        ValueError: no such module; the message lists the names at the first wrong step.
    """
    module = network
    for step in name.split("."):
        children = dict(module.named_children())
        if step not in children:
            where = type(module).__name__
            raise ValueError(f"no layer {name!r}: {where} has {[*children]}, not {step!r}")
        module = children[step]
    return module


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Put the network in eval mode with gradients to the input only; restore everything after.

    Training flags (each module's own), `requires_grad`, the random generators of torch, numpy
    and Python, and the grad and inference modes are as before, also after an exception.
    """
    training = {module: module.training for module in network.modules()}
    learning = {parameter: parameter.requires_grad for parameter in network.parameters()}
    states = random.getstate(), np.random.get_state()
    devices = {p.device.index or 0 for p in network.parameters() if p.is_cuda}
    device = next((p.device.type for p in network.parameters()), "cpu")
    with (
        torch.random.fork_rng(devices),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device, enabled=False),
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
            random.setstate(states[0])
            np.random.set_state(states[1])


def until(network: nn.Module, module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function that runs the network only as far as `module` and returns its output.

    Its hook is registered inside the call, so it fires after those that others (Captum)
    registered before, and is gone when the call ends.
    """

    def forward(image: Tensor) -> Tensor:
        reached: list[Tensor] = []

        def stop(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            reached.append(output)
            raise _ReachedError

        handle = module.register_forward_hook(stop)
        try:
            network(image)
        except _ReachedError:
            return reached[0]
        finally:
            handle.remove()
        raise ValueError("the network's forward pass does not run through the probed layer")

    return forward


def rectifier(network: nn.Module, module: nn.Module, image: Tensor) -> nn.Module | None:
    """Return the rectifier that a layer ends in, or None for a layer with a linear output.

    A silent unit has no gradient behind its rectifier, so fields are read from its input. It is
    found by running `image` (1, 3, h, w): the last ReLU called whose result is the layer's output.
    """
    last: list[tuple[nn.Module, Tensor]] = []
    handles = [
        m.register_forward_hook(lambda m, _inputs, output: last.append((m, output.clone())))
        for m in module.modules()
        if isinstance(m, nn.ReLU | nn.ReLU6)
    ]
    try:
        with torch.no_grad():
            output = until(network, module)(image)
    finally:
        for handle in handles:
            handle.remove()
    return last[-1][0] if last and torch.equal(last[-1][1], output) else None
