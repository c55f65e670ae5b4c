import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal import hardware
from deepsal.data import SaliencyDataModule, popout_dataset
from deepsal.models import Backbone, FinetuneDepth, ReadoutDecoder, SaliencyNetwork
from deepsal.training.losses import SaliencyLoss
from deepsal.training.task import SaliencyTask, one_cycle_schedule

HERE = Path(__file__).parent

os.environ["DEEPSAL_OFFLINE"] = "1"  # a test never fetches a data set by itself


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start first what takes longest, so that no core is idle at the end: slow tests, then runs."""
    items.sort(key=lambda item: (not item.get_closest_marker("slow"), item.path.parent != HERE))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests marked `gpu` where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here")


@pytest.fixture
def data_dir() -> Path:
    """The folder that holds osie/."""
    folder = os.environ.get("DEEPSAL_DATA")
    if not folder:
        pytest.skip("DEEPSAL_DATA is not set")
    return Path(folder)


@pytest.fixture
def install_gpus(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """A function that lets `nvidia-smi` list these lines, all of them visible; none: it fails."""
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def install(*rows: str) -> None:
        lines = "\n".join(rows)
        listed = f"cat <<'END'\n{lines}\nEND" if rows else "echo no driver; exit 9"
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{listed}\n")
        (folder / "nvidia-smi").chmod(0o755)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        hardware._installed_gpus.cache_clear()

    install()
    yield install
    hardware._installed_gpus.cache_clear()


NoTrace = Callable[[nn.Module], AbstractContextManager[None]]
"""Type of the fixture `leaves_no_trace`."""


@pytest.fixture
def leaves_no_trace() -> NoTrace:
    """A context manager that checks that a block leaves a network as it was, also after an error.

    Weights, buffers, gradients, `requires_grad`, training flags and hooks are compared.
    """

    @contextmanager
    def check(network: nn.Module) -> Iterator[None]:
        tensors, flags = _tensors(network), _flags(network)
        try:
            yield
        finally:
            after = _tensors(network)
            assert [*after] == [*tensors]
            changed = [name for name, value in tensors.items() if not _same(value, after[name])]
            assert not changed, f"{changed} changed"
            assert _flags(network) == flags

    return check


def _tensors(network: nn.Module) -> dict[str, Tensor | None]:
    """Return copies of a network's weights, buffers and gradients."""
    grads = {f"{name}.grad": p.grad for name, p in network.named_parameters()}
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers()), **grads}
    return {n: value if value is None else value.detach().clone() for n, value in tensors.items()}


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


def _flags(network: nn.Module) -> dict[str, Any]:
    """Return what a network learns, and the modes and hooks of its modules."""
    flags: dict[str, Any] = {name: p.requires_grad for name, p in network.named_parameters()}
    for name, module in network.named_modules():
        hooks = [
            *(module._forward_hooks, module._forward_pre_hooks),
            *(module._backward_hooks, module._backward_pre_hooks),
        ]
        flags[f"{name}:"] = module.training, [dict(handles) for handles in hooks]
    return flags


def stage(channels_in: int, channels: int, stride: int = 2) -> nn.Module:
    convolution = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


def backbone(widths: Sequence[int] = (4, 6, 8, 8, 8)) -> Backbone:
    """Five strided convolutions with batch norm: fields up to 63 pixels, strides up to 32."""
    torch.manual_seed(0)
    pairs = zip((3, *widths), widths, strict=False)
    return Backbone([stage(a, b) for a, b in pairs], name="toy")


def task(depth: str = "all") -> SaliencyTask:
    torch.manual_seed(0)
    network = SaliencyNetwork(backbone(), partial(ReadoutDecoder, width=8))
    return SaliencyTask(
        network,
        FinetuneDepth(depth),
        SaliencyLoss(kl=1.0, cc=0.1, nss=0.1),
        partial(torch.optim.AdamW, weight_decay=0.1),
        lr=1e-2,
        schedule=one_cycle_schedule,
    )


def datamodule(images: tuple[int, int, int] = (8, 6, 3), workers: int = 0) -> SaliencyDataModule:
    data = popout_dataset(images, size=(64, 96))
    return SaliencyDataModule(data, size=(64, 96), batch_size=4, num_workers=workers)


def difference_of_gaussians(side: int, ratio: float) -> Tensor:
    """A centre-surround field: volume ratio `ratio` of a surround twice as wide as its centre."""
    at = torch.arange(side, dtype=torch.float64) - side // 2
    squared = at[:, None].square() + at.square()
    centre, surround = (torch.exp(-squared / (2 * s * s)) / (s * s) for s in (1.2, 2.4))
    return (centre - ratio * surround).float()


def arrays_equal(first: object, second: object) -> bool:
    return bool(np.array_equal(np.asarray(first), np.asarray(second), equal_nan=True))
