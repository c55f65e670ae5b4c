"""The number format a machine trains fastest in without losing the training."""

from typing import Literal

import torch

BF16 = "avx512_bf16", "amx_bf16"
"""Instructions of processors that multiply bfloat16; others emulate it, tens of times slower."""


def fastest(accelerator: str = "auto") -> Literal["bf16-mixed", "32-true"]:
    """Return what `pytorch_lightning.Trainer` calls the precision to train in.

    Mixed bfloat16 on GPUs (NVIDIA: Ampere and newer) and processors that have instructions for it,
    float32 elsewhere (also where torch cannot tell).

    Args:
        accelerator: of the trainer: auto, cpu, gpu, cuda, mps …

    >>> fastest("mps")
    '32-true'
    """
    if accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available():
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if supported else "32-true"
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than 2.9
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.mps.is_available())
    return "bf16-mixed" if on_cpu and any(known.get(name) for name in BF16) else "32-true"
