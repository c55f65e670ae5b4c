"""Number formats of a training: the fastest one of a machine, and those that it cannot use."""

from typing import Literal

from deepsal.hardware import cpu_instruction_sets, torch_build, visible_gpus

BFLOAT16_INSTRUCTIONS = "avx512_bf16", "amx_bf16"
"""Instructions of processors that multiply bfloat16; others emulate it, tens of times slower."""
AMPERE_CAPABILITY = (8, 0)
"""Compute capability of the first NVIDIA GPUs that multiply bfloat16."""
PRECISION_CHOICES = ("32-true", "bf16-mixed", "16-mixed", "64-true")
HALF_PRECISIONS = ("bf16-true", "16-true")
PRECISION_ALIASES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "64": "64-true"}
"""Lightning's short names."""


def fastest_precision(accelerator: str = "auto") -> Literal["bf16-mixed", "32-true"]:
    """Return the fastest precision that does not harm a training, as `trainer.precision` names it.

    Mixed bfloat16 on NVIDIA GPUs since Ampere (where torch is built for CUDA) and on processors
    that have instructions for it, float32 elsewhere.

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
    """Refuse a GPU that is asked for, or is there, and cannot be used.

    A build of torch without CUDA and `auto` use the processor.

    Raises:
        ValueError: the message says what to set or to install.
    """
    listed, asked = visible_gpus(), accelerator in {"gpu", "cuda"}
    if not (asked or (listed and accelerator == "auto")):
        return
    import torch

    if accelerator == "gpu" and torch.mps.is_available():
        return
    try:
        torch.cuda.init()  # under Lightning, `torch.cuda.is_available` only asks for a driver
        return
    except (RuntimeError, AssertionError) as error:
        reason, cuda = str(error).split(". ")[0], torch.version.cuda
    cure = "set trainer.accelerator=cpu"
    wrong = f"trainer.accelerator={accelerator}: torch {torch.__version__}"
    if listed and cuda:
        raise ValueError(
            f"{wrong}, built for CUDA {cuda}, cannot use this machine's {listed[0].name} with "
            f"driver {listed[0].driver} ({reason}); install a torch built for it or {cure}"
        )
    if listed and asked:
        raise ValueError(f"{wrong} is built without CUDA; install one built for it or {cure}")
    if asked:
        raise ValueError(f"trainer.accelerator={accelerator}: no GPU can be used here; {cure}")


def check_precision(precision: str | int, accelerator: str) -> None:
    """Refuse a precision that deepsal or the device lacks.

    Args:
        precision: of the trainer.
        accelerator: of the trainer, one that `check_accelerator` lets pass.

    Raises:
        ValueError: the message says what to set.
    """
    name, wrong = PRECISION_ALIASES.get(str(precision), precision), f"trainer.precision={precision}"
    if name in HALF_PRECISIONS:
        raise ValueError(
            f"{wrong}: half precision is too coarse for densities and scores; "
            "set trainer.precision=bf16-mixed"
        )
    if name not in PRECISION_CHOICES:
        raise ValueError(f"{wrong}: the choices are {list(PRECISION_CHOICES)}")
    device, older = (
        _device_kind(accelerator),
        [gpu for gpu in visible_gpus() if gpu.capability < AMPERE_CAPABILITY],
    )
    if (name, device) == ("16-mixed", "cpu"):
        raise ValueError(f"{wrong} needs a GPU; set trainer.precision=bf16-mixed or 32-true")
    if (name, device) == ("64-true", "mps"):
        raise ValueError(f"{wrong}: this GPU has no float64; set trainer.precision=32-true")
    if (name, device) == ("bf16-mixed", "cuda") and older and older == visible_gpus():
        has = ".".join(map(str, older[0].capability))
        raise ValueError(
            f"{wrong} needs a GPU of compute capability 8.0, the {older[0].name} has {has}; "
            "set trainer.precision=32-true"
        )


def _device_kind(accelerator: str) -> str:
    """Return the kind of device that Lightning takes."""
    import torch

    if accelerator in {"auto", "gpu"} and torch.mps.is_available():
        return "mps"
    if accelerator in {"auto", "gpu"} and torch.cuda.is_available():
        return "cuda"
    return "cpu" if accelerator == "auto" else accelerator
