"""A forward pass compiled by torch that leaves its network as it is."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")


class CompiledForward:
    """Compile the forward pass of a network; the network and its parameter names stay unchanged.

    A network with hooks is called uncompiled, because compiled code calls no hooks. Copies and
    pickles carry no compiled code: each compiles at its own first call.

    Args:
        network: any module that takes an image and a size.
        mode: of `torch.compile`; True for its default.

    Raises:
        ValueError: an unknown mode; at the first call, torch cannot compile on this machine.
    """

    def __init__(self, network: nn.Module, mode: bool | str) -> None:
        self.network = network
        self.mode = "default" if mode is True else str(mode)
        if self.mode not in COMPILE_MODES:
            raise ValueError(
                f"task.compile={mode}: the choices are false, true, {', '.join(COMPILE_MODES)}"
            )
        self.compiled: Callable[..., Tensor] | None = None

    def __call__(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the network's output for an image at a size."""
        if _has_hooks(self.network):
            return cast(Tensor, self.network(image, size))
        if self.compiled is None:
            self.compiled = torch.compile(self.network.forward, mode=self.mode)
        try:
            return self.compiled(image, size)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            reason = str(error.inner_exception).partition("\n")[0]
            raise ValueError(
                f"torch.compile failed ({reason}); task.compile=false trains without it"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"compiled": None}


def _has_hooks(network: nn.Module) -> bool:
    return any(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        for module in network.modules()
    )
