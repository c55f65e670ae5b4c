from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deepsal import hardware
from deepsal.training import precision
from deepsal.training.precision import check_accelerator, check_precision, fastest_precision
from tests.support import A100, V100

GPUS = {"Ampere": [A100], "Volta": [V100], "both": [A100, V100], None: []}


@pytest.fixture
def machine(
    install_gpus: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """A function that sets the GPU, the processor, the build of torch, and if it reaches GPUs."""

    def build(
        gpu: str | None, flags: str = "", cuda: str | None = "13.0", works: bool = True
    ) -> None:
        def init() -> None:
            if not (works and cuda and gpu):
                raise RuntimeError("the driver is too old")

        install_gpus(*GPUS[gpu])
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: fpu {flags} sse\n")
        monkeypatch.setattr(hardware, "CPUINFO_FILE", tmp_path / "cpuinfo")
        monkeypatch.setattr(precision, "torch_build", lambda: {"cuda": cuda})
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(works and cuda and gpu))
        monkeypatch.setattr(torch.mps, "is_available", lambda: False)

    return build


@pytest.mark.parametrize(
    ("accelerator", "gpu", "flags", "expected"),
    [
        ("auto", "Ampere", "", "bf16-mixed"),
        ("cuda", "Ampere", "", "bf16-mixed"),
        ("gpu", "Volta", "avx512_bf16", "32-true"),
        ("auto", "both", "avx512_bf16", "32-true"),
        ("cpu", "Ampere", "avx512f", "32-true"),
        ("auto", None, "avx512_bf16", "bf16-mixed"),
        ("cpu", None, "amx_bf16", "bf16-mixed"),
        ("auto", None, "avx2", "32-true"),
        ("mps", None, "avx512_bf16", "32-true"),
    ],
)
def test_bfloat16_is_for_machines_that_multiply_it(
    accelerator: str, gpu: str | None, flags: str, expected: str, machine: Callable[..., None]
) -> None:
    machine(gpu, flags)
    assert fastest_precision(accelerator) == expected


def test_gpus_that_torch_cannot_use_or_that_are_hidden_do_not_decide(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("Ampere", "avx2", cuda=None)
    assert fastest_precision("auto") == "32-true"
    machine("Volta", "amx_bf16")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert fastest_precision("auto") == "bf16-mixed"


def test_a_machine_that_does_not_list_its_instructions_trains_in_float32(
    machine: Callable[..., None], tmp_path: Path
) -> None:
    machine(None)
    (tmp_path / "cpuinfo").unlink()
    assert fastest_precision("cpu") == "32-true"


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there_is_refused(accelerator: str, machine: Callable[..., None]) -> None:
    machine(None)
    with pytest.raises(ValueError, match=rf"accelerator={accelerator}: no GPU .* set trainer.acc"):
        check_accelerator(accelerator)


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
def test_a_driver_that_torch_cannot_use_is_named(
    accelerator: str, machine: Callable[..., None]
) -> None:
    machine("Ampere", works=False)
    wrong = (
        r"CUDA 13.0, .* A100-SXM4-80GB with driver 550.54.15 .the driver is too old.; install .*"
    )
    with pytest.raises(ValueError, match=wrong):
        check_accelerator(accelerator)


def test_a_torch_without_cuda_takes_the_processor_unless_a_gpu_is_asked_for(
    machine: Callable[..., None],
) -> None:
    machine("Ampere", cuda=None)
    check_accelerator("auto")
    with pytest.raises(ValueError, match="is built without CUDA; install one"):
        check_accelerator("gpu")


@pytest.mark.parametrize(
    ("accelerator", "gpu", "works"),
    [
        ("auto", None, True),
        ("cpu", "Ampere", False),
        ("gpu", "Volta", True),
        ("auto", "both", True),
    ],
)
def test_a_device_that_can_be_used_is(
    accelerator: str, gpu: str | None, works: bool, machine: Callable[..., None]
) -> None:
    machine(gpu, works=works)
    check_accelerator(accelerator)


@pytest.mark.parametrize(
    ("name", "accelerator", "gpu", "message"),
    [
        (
            "bf16-true",
            "auto",
            "Ampere",
            r"half precision is too coarse .*; set trainer.precision=bf16-mixed",
        ),
        (
            "16-true",
            "cpu",
            None,
            r"half precision is too coarse .*; set trainer.precision=bf16-mixed",
        ),
        ("b16", "cpu", None, r"=b16: the choices are \['32-true', 'bf16-mixed'"),
        ("16-mixed", "cpu", "Ampere", "needs a GPU; set trainer.precision=bf16-mixed or 32-true"),
        (16, "auto", None, "trainer.precision=16 needs a GPU"),
        ("bf16-mixed", "auto", "Volta", "capability 8.0, the Tesla V100-SXM2-16GB has 7.0; set"),
        ("bf16", "gpu", "Volta", "trainer.precision=bf16 needs a GPU of compute capability 8.0"),
    ],
)
def test_a_precision_that_the_device_lacks_says_what_to_set(
    name: str | int, accelerator: str, gpu: str | None, message: str, machine: Callable[..., None]
) -> None:
    machine(gpu)
    with pytest.raises(ValueError, match=message):
        check_precision(name, accelerator)


@pytest.mark.parametrize(
    ("name", "accelerator", "gpu"),
    [
        ("32-true", "auto", "Volta"),
        (64, "cpu", None),
        ("16-mixed", "auto", "Volta"),
        ("bf16-mixed", "cpu", "Volta"),
        ("bf16-mixed", "auto", "both"),
        ("bf16-mixed", "auto", None),
    ],
)
def test_a_precision_that_the_device_has_is_left_alone(
    name: str | int, accelerator: str, gpu: str | None, machine: Callable[..., None]
) -> None:
    machine(gpu)
    check_precision(name, accelerator)


def test_apples_gpus_have_no_float64(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(None)
    monkeypatch.setattr(torch.mps, "is_available", lambda: True)
    check_accelerator("gpu")
    check_precision("bf16-mixed", "gpu")
    with pytest.raises(ValueError, match=r"no float64; set trainer.precision=32-true"):
        check_precision("64-true", "auto")
