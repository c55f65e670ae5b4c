"""Full float32 arithmetic, whatever precision a training uses."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch

CUDA_BACKEND: Any = torch.backends.cuda
CUDNN_BACKEND: Any = torch.backends.cudnn
MKLDNN_BACKEND: Any = torch.backends.mkldnn
PRECISION_SWITCHES = (
    CUDNN_BACKEND.conv,
    CUDNN_BACKEND.rnn,
    CUDA_BACKEND.matmul,
    MKLDNN_BACKEND.conv,
    MKLDNN_BACKEND.rnn,
    MKLDNN_BACKEND.matmul,
)
"""Torch's switches for the number format of float32 convolutions and matrix products."""


class NumberFormat(NamedTuple):
    """A number format of convolutions, and the relative error expected after a few layers."""

    name: str
    tolerance: float


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Compute float32 in float32: TF32, reduced-precision products and autocast are off inside.

    By default torch rounds the inputs of convolutions to TF32 (10 bits of mantissa) on NVIDIA GPUs
    since Ampere. The earlier settings are restored, also after an exception.

    Args:
        device: type of the device whose autocast is switched off: cpu, cuda, mps …
    """
    legacy = _legacy_settings()
    precisions = [operator.fp32_precision for operator in PRECISION_SWITCHES]
    try:
        _apply_settings(
            dict.fromkeys(legacy, False) | {"matmul": "highest"}, ["ieee"] * len(PRECISION_SWITCHES)
        )
        with torch.autocast(device, enabled=False):
            yield
    finally:
        _apply_settings(legacy, precisions)


def current_number_format(dtype: torch.dtype, device: str) -> NumberFormat:
    """Return the number format in which torch computes convolutions of a type now.

    >>> with full_precision("cpu"):
    ...     current_number_format(torch.float32, "cuda")
    NumberFormat(name='float32', tolerance=0.001)
    """
    if dtype == torch.bfloat16:
        return NumberFormat("bfloat16", 0.05)
    if dtype == torch.float16:
        return NumberFormat("float16", 0.01)
    if dtype == torch.float32 and device == "cuda" and CUDNN_BACKEND.conv.fp32_precision == "tf32":
        return NumberFormat("TF32", 0.01)
    return NumberFormat(str(dtype).removeprefix("torch."), 1e-3)


def _legacy_settings() -> dict[str, Any]:
    """Return torch's older settings; one that disagrees with the newer ones cannot be read."""
    settings: dict[str, Any] = {}
    with suppress(RuntimeError):
        settings["cudnn"] = CUDNN_BACKEND.allow_tf32
    with suppress(RuntimeError):
        settings["matmul"] = torch.get_float32_matmul_precision()
    return settings


def _apply_settings(legacy: dict[str, Any], precisions: list[str]) -> None:
    """Set the older settings, then the newer ones, which the older would change."""
    if "cudnn" in legacy:
        CUDNN_BACKEND.allow_tf32 = legacy["cudnn"]
    if "matmul" in legacy:
        torch.set_float32_matmul_precision(legacy["matmul"])
    for operator, precision in zip(PRECISION_SWITCHES, precisions, strict=True):
        operator.fp32_precision = precision
