"""TF32 on a CPU: convolutions and matrix products round their inputs to 10 bits of mantissa.

python -m tests.tf32 OPTION …          run.py under it, as on an NVIDIA GPU since Ampere
"""

import runpy
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from deepsal.rf.arithmetic import CUDA_BACKEND, CUDNN_BACKEND

aten = torch.ops.aten
CONVOLUTIONS = {aten.convolution.default, aten.convolution_backward.default}
PRODUCTS = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default}
DROPPED = 13
"""Bits of float32's mantissa that TF32 has not."""


class Tf32(TorchDispatchMode):
    """Rounds where torch's switches say that a GPU would; cuDNN's is on unless it is set."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rounded = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator."""
        switch = (
            CUDNN_BACKEND.conv
            if func in CONVOLUTIONS
            else CUDA_BACKEND.matmul
            if func in PRODUCTS
            else None
        )
        if switch is not None and switch.fp32_precision == "tf32":
            self.rounded += 1
            args = tuple(map(rounded, args))
        return func(*args, **kwargs or {})


def rounded(value: Any) -> Any:
    """Return a float32 tensor with 10 bits of mantissa, to the nearest; else the value itself.

    >>> rounded(torch.tensor([1 + 2**-10, 1 + 2**-12, -3.0])).tolist()
    [1.0009765625, 1.0, -3.0]
    """
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        return value
    bits = value.view(torch.int32)
    return ((bits + (1 << (DROPPED - 1))) & -(1 << DROPPED)).view(torch.float32)


def main() -> None:
    """Run `run.py` with the command line's options."""
    torch.set_float32_matmul_precision("high")
    with Tf32():
        runpy.run_path("run.py", run_name="__main__")


if __name__ == "__main__":
    main()
