"""Arithmetic precision of a training: the fastest one of a machine, and checks of an option."""

from typing import Literal

from deepsal.hardware import cpu_instruction_sets, torch_build, visible_gpus

BFLOAT16_INSTRUCTIONS = "avx512_bf16", "amx_bf16"
"""Instruction sets that multiply bfloat16; other processors emulate it, tens of times slower."""
AMPERE_CAPABILITY = (8, 0)
"""Compute capability of the first NVIDIA GPUs that multiply bfloat16."""
PRECISION_CHOICES = ("32-true", "bf16-mixed", "16-mixed", "64-true")
HALF_PRECISIONS = ("bf16-true", "16-true")
PRECISION_ALIASES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "64": "64-true"}
"""Lightning's short names."""


def fastest_precision(accelerator: str = "auto") -> Literal["bf16-mixed", "32-true"]:
    """Return the fastest safe `trainer.precision` of this machine.

    Mixed bfloat16 on NVIDIA GPUs since Ampere (if torch is built for CUDA) and on processors with
    instructions for it, float32 elsewhere.

    Args:
        accelerator: of the trainer: auto, cpu, gpu, cuda, mps …

    >>> fastest_precision("mps")
    '32-true'
    """
    if (
        accelerator in {"auto", "gpu", "cuda"}
        and (visible := visible_gpus())
        and torch_build()["cuda"]
    ):
        supported = all(gpu.capability >= AMPERE_CAPABILITY for gpu in visible)
    else:
        supported = accelerator in {"auto", "cpu"} and not cpu_instruction_sets().isdisjoint(
            BFLOAT16_INSTRUCTIONS
        )
    return "bf16-mixed" if supported else "32-true"


def check_accelerator(accelerator: str) -> None:
    """Raise an error if the trainer would need a GPU that torch cannot use.

    `auto` with a torch built without CUDA uses the processor.

    Args:
        accelerator: of the trainer: auto, cpu, gpu, cuda, mps …

    Raises:
        ValueError: the message names the option to set or the package to install.
    """
    gpus, required = visible_gpus(), accelerator in {"gpu", "cuda"}
    if not (required or (gpus and accelerator == "auto")):
        return
    import torch

    if accelerator == "gpu" and torch.mps.is_available():
        return
    try:
        torch.cuda.init()  # under Lightning, `torch.cuda.is_available` only looks for a driver
        return
    except (RuntimeError, AssertionError) as error:
        reason, cuda = str(error).split(". ")[0], torch.version.cuda
    advice = "set trainer.accelerator=cpu"
    subject = f"trainer.accelerator={accelerator}: torch {torch.__version__}"
    if gpus and cuda:
        raise ValueError(
            f"{subject}, built for CUDA {cuda}, cannot use this machine's {gpus[0].name} with "
            f"driver {gpus[0].driver} ({reason}); install a torch built for it or {advice}"
        )
    if gpus and required:
        raise ValueError(f"{subject} is built without CUDA; install one built for it or {advice}")
    if required:
        raise ValueError(f"trainer.accelerator={accelerator}: no GPU can be used here; {advice}")


def check_precision(precision: str | int, accelerator: str) -> None:
    """Raise an error if deepsal or the device does not support a precision.

    Args:
        precision: of the trainer.
        accelerator: of the trainer; `check_accelerator` accepts it.

    Raises:
        ValueError: the message names the option to set.
    """
    name = PRECISION_ALIASES.get(str(precision), precision)
    option = f"trainer.precision={precision}"
    if name in HALF_PRECISIONS:
        raise ValueError(
            f"{option}: half precision is too coarse for densities and scores; "
            "set trainer.precision=bf16-mixed"
        )
    if name not in PRECISION_CHOICES:
        raise ValueError(f"{option}: the choices are {list(PRECISION_CHOICES)}")
    device, gpus = _device_kind(accelerator), visible_gpus()
    older = [gpu for gpu in gpus if gpu.capability < AMPERE_CAPABILITY]
    if (name, device) == ("16-mixed", "cpu"):
        raise ValueError(f"{option} needs a GPU; set trainer.precision=bf16-mixed or 32-true")
    if (name, device) == ("64-true", "mps"):
        raise ValueError(f"{option}: this GPU has no float64; set trainer.precision=32-true")
    if (name, device) == ("bf16-mixed", "cuda") and older and older == gpus:
        capability = ".".join(map(str, older[0].capability))
        raise ValueError(
            f"{option} needs a GPU of compute capability 8.0, the {older[0].name} has "
            f"{capability}; set trainer.precision=32-true"
        )


def _device_kind(accelerator: str) -> str:
    """Return the kind of device that Lightning chooses: mps, cuda or cpu."""
    import torch

    if accelerator in {"auto", "gpu"} and torch.mps.is_available():
        return "mps"
    if accelerator in {"auto", "gpu"} and torch.cuda.is_available():
        return "cuda"
    return "cpu" if accelerator == "auto" else accelerator
