import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deepsal import hardware
from tests.support import A100, V100


def test_gpus_are_read_from_nvidia_smi(install_gpus: Callable[..., None]) -> None:
    install_gpus(A100, V100)
    first, second = hardware.visible_gpus()
    assert first == ("NVIDIA A100-SXM4-80GB", (8, 0), "550.54.15", "GPU-aa1")
    assert second.capability == (7, 0)


@pytest.mark.parametrize(
    ("selection", "uuids"),
    [
        ("", []),
        ("-1", []),
        ("1", ["GPU-ab2"]),
        ("1,0", ["GPU-ab2", "GPU-aa1"]),
        ("0,7,1", ["GPU-aa1"]),
        ("GPU-ab", ["GPU-ab2"]),
        ("MIG-cc3", ["GPU-aa1"]),
    ],
)
def test_only_visible_gpus_count(
    selection: str,
    uuids: list[str],
    install_gpus: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_gpus(A100, V100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", selection)
    assert [gpu.uuid for gpu in hardware.visible_gpus()] == uuids


@pytest.mark.parametrize("row", ["No devices were found", "Tesla, [N/A], 470.57, GPU-a"])
def test_what_is_no_gpu_is_not_listed(row: str, install_gpus: Callable[..., None]) -> None:
    install_gpus(row)
    assert hardware.visible_gpus() == []


def test_without_nvidia_smi_or_where_it_fails_there_are_none(
    install_gpus: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_gpus()
    assert hardware.visible_gpus() == []
    monkeypatch.setenv("PATH", str(tmp_path))
    hardware._installed_gpus.cache_clear()
    assert hardware.visible_gpus() == []


def test_instructions_are_those_of_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "CPUINFO_FILE", tmp_path / "cpuinfo")
    assert hardware.cpu_instruction_sets() == set()
    (tmp_path / "cpuinfo").write_text("vendor_id : x\nflags\t\t: fpu avx2\nbugs : spectre\n\n")
    assert hardware.cpu_instruction_sets() == {"fpu", "avx2"}


def test_the_build_of_torch_is_known_without_importing_it() -> None:
    code = "import sys; from deepsal.hardware import torch_build as b; x = b();"
    code += "print(x['__version__'], x['cuda'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [torch.__version__, str(torch.version.cuda), "False"]
