"""GPUs, processor and torch build of this machine, read without importing torch."""

import os
import re
import runpy
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

NVIDIA_SMI_QUERY = "--query-gpu=name,compute_cap,driver_version,uuid"
NVIDIA_SMI_ROW = re.compile(r"^(.+), (\d+)\.(\d+), ([\d.]+), (\S+)$", re.MULTILINE)
CPUINFO_FILE = Path("/proc/cpuinfo")


class GPU(NamedTuple):
    """An NVIDIA GPU: model, compute capability, version of its driver, unique identifier."""

    name: str
    capability: tuple[int, int]
    driver: str
    uuid: str


def visible_gpus() -> list[GPU]:
    """Return the NVIDIA GPUs that this process may use.

    They are in the order of CUDA_VISIBLE_DEVICES, which selects as in CUDA: numbers or beginnings
    of identifiers, up to the first that does not exist. Without it they are in the order of
    `nvidia-smi`. A part of a GPU (MIG) counts as the machine's first GPU. The list is empty if
    `nvidia-smi` is missing or fails.
    """
    installed = _installed_gpus()
    selection = os.environ.get("CUDA_VISIBLE_DEVICES")
    if selection is None:
        return installed
    visible: list[GPU] = []
    for entry in map(str.strip, selection.split(",")):
        gpu = next((g for i, g in enumerate(installed) if _entry_selects(entry, i, g)), None)
        if gpu is None:
            break
        visible.append(gpu)
    return visible


def _entry_selects(entry: str, index: int, gpu: GPU) -> bool:
    whole = entry.startswith("GPU-") and gpu.uuid.startswith(entry)
    return entry == str(index) or whole or entry.startswith("MIG-")


@cache
def _installed_gpus() -> list[GPU]:
    command = ["nvidia-smi", NVIDIA_SMI_QUERY, "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = NVIDIA_SMI_ROW.findall(done.stdout)
    return [GPU(name, (int(a), int(b)), driver, uuid) for name, a, b, driver, uuid in rows]


def cpu_instruction_sets() -> frozenset[str]:
    """Return the instruction sets of the processor, such as `avx2`; on Linux only, else none."""
    text = CPUINFO_FILE.read_text(encoding="utf-8") if CPUINFO_FILE.is_file() else ""
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(flags[1].split() if flags else ())


def torch_build() -> Mapping[str, Any]:
    """Return torch's `version.py`: `__version__`, and `cuda`, its CUDA version or None."""
    spec = find_spec("torch")
    assert spec
    assert spec.origin
    return runpy.run_path(str(Path(spec.origin).with_name("version.py")))
