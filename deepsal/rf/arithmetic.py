"""Full float32 arithmetic, whatever precision a training uses."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch

cuda: Any = torch.backends.cuda
cudnn: Any = torch.backends.cudnn
mkldnn: Any = torch.backends.mkldnn
OPERATORS = (cudnn.conv, cudnn.rnn, cuda.matmul, mkldnn.conv, mkldnn.rnn, mkldnn.matmul)
"""Torch's switches for what convolutions and matrix products of float32 are computed in."""


class Arithmetic(NamedTuple):
    """A number format of convolutions, and the relative error to expect after a few layers."""

    name: str
    tolerance: float


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Compute float32 in float32: TF32, reduced-precision products and autocast are off inside.

    Torch rounds the inputs of convolutions to TF32 (10 bits of mantissa) on NVIDIA GPUs since
    Ampere unless it is told not to. The settings before are restored, also after an exception.

    Args:
        device: type of the device whose autocast is switched off: cpu, cuda, mps …
    """
    legacy = _legacy_settings()
    precisions = [operator.fp32_precision for operator in OPERATORS]
    try:
        _apply(dict.fromkeys(legacy, False) | {"matmul": "highest"}, ["ieee"] * len(OPERATORS))
        with torch.autocast(device, enabled=False):
            yield
    finally:
        _apply(legacy, precisions)


def in_force(dtype: torch.dtype, device: str) -> Arithmetic:
    """Return the arithmetic that convolutions of a type are computed in at present.

    >>> with full_precision("cpu"):
    ...     in_force(torch.float32, "cuda")
    Arithmetic(name='float32', tolerance=0.001)
    """
    if dtype == torch.bfloat16:
        return Arithmetic("bfloat16", 0.05)
    if dtype == torch.float16:
        return Arithmetic("float16", 0.01)
    if dtype == torch.float32 and device == "cuda" and cudnn.conv.fp32_precision == "tf32":
        return Arithmetic("TF32", 0.01)
    return Arithmetic(str(dtype).removeprefix("torch."), 1e-3)


def _legacy_settings() -> dict[str, Any]:
    """Return torch's older settings; one that disagrees with the newer ones cannot be read."""
    settings: dict[str, Any] = {}
    with suppress(RuntimeError):
        settings["cudnn"] = cudnn.allow_tf32
    with suppress(RuntimeError):
        settings["matmul"] = torch.get_float32_matmul_precision()
    return settings


def _apply(legacy: dict[str, Any], precisions: list[str]) -> None:
    """Set the older settings, then the newer ones, which the older would change."""
    if "cudnn" in legacy:
        cudnn.allow_tf32 = legacy["cudnn"]
    if "matmul" in legacy:
        torch.set_float32_matmul_precision(legacy["matmul"])
    for operator, precision in zip(OPERATORS, precisions, strict=True):
        operator.fp32_precision = precision
