import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from deepsal.rf.geometry import measure_geometry
from deepsal.rf.mapping import field_extraction
from deepsal.rf.mapping.gradient_fields import ReceptiveFields, map_receptive_fields
from deepsal.rf.mapping.methods import FIELD_METHODS
from tests.conftest import arrays_equal, backbone

aten = torch.ops.aten
READING = {aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default}
"""Operators after which the host waits for the device."""


class Counting(TorchDispatchMode):
    """Counts the operators that run, and those of them that make the host wait."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators = self.waits = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.operators += 1
        self.waits += func in READING
        return func(*args, **kwargs or {})


class Copies(TorchFunctionMode):
    """Counts what copies a tensor to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if (name := getattr(func, "__name__", "")) in {"cpu", "item", "tolist", "__bool__"}:
            self.names[name] += 1
        return func(*args, **kwargs or {})


def scattered(count: int) -> NDArray[np.int64]:
    """Patches of 6 units of conv3 in 3 images, one of them at a border, some shared."""
    random = np.random.default_rng(0)
    patches = random.integers((0, 0, 0), (3, 8, 12), (6, count, 3))
    patches[:, 0] = [1, 4, 5]
    patches[2, -1] = -1
    return patches


def read(images: Tensor, patches: NDArray[np.int64], **options: Any) -> ReceptiveFields:
    network = backbone().eval()
    geometry = measure_geometry(network, "conv3")
    return map_receptive_fields(network, "conv3", images, patches, range(6), geometry, **options)


IMAGES = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("window", [None, 9])
def test_a_plain_batch_gives_what_windows_give(window: int | None) -> None:
    windowed, batch = (
        read(IMAGES, scattered(4), window=window, engine=engine) for engine in ("windowed", "batch")
    )
    for name in ("field", "activation"):
        one, other = getattr(windowed, name), getattr(batch, name)
        assert np.allclose(one, other, rtol=1e-5, atol=1e-7, equal_nan=True), name
    assert arrays_equal(windowed.centre, batch.centre)
    assert windowed.count.tolist() == [4, 4, 3, 4, 4, 4]


@pytest.mark.parametrize("engine", ["windowed", "batch"])
def test_the_size_of_a_pass_does_not_matter_nor_does_a_lack_of_memory(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(IMAGES, scattered(4), engine=engine)
    small = read(IMAGES, scattered(4), engine=engine, pixels_per_pass=2 * 24 * 24)
    read_gradient = FIELD_METHODS["gradient"]

    def scarce(readout: Any, request: Any) -> Any:
        if len(request.crops) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return read_gradient(readout, request)

    monkeypatch.setitem(FIELD_METHODS, "gradient", scarce)
    halved = read(IMAGES, scattered(4), engine=engine)
    for other in (small, halved):
        assert np.allclose(whole.field, other.field, rtol=1e-5, atol=1e-7, equal_nan=True)
        assert arrays_equal(whole.count, other.count)


def test_memory_for_less_than_one_crop_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(readout: Any, request: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setitem(FIELD_METHODS, "gradient", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        read(IMAGES, scattered(1))


@pytest.mark.parametrize("slow", ["windowed", "batch"])
def test_on_a_device_with_a_queue_the_faster_engine_is_taken_and_remembered(
    slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, passes = [0.0], Counter[bool]()
    read_gradient = FIELD_METHODS["gradient"]

    def timed(readout: Any, request: Any) -> Any:
        passes[request.windowed] += 1
        clock[0] += 9.0 if request.windowed == (slow == "windowed") else 1.0
        return read_gradient(readout, request)

    monkeypatch.setattr(field_extraction, "WINDOWED_IS_FASTER", {})
    monkeypatch.setattr(field_extraction, "runs_asynchronously", lambda device: True)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: None)
    expected = read(IMAGES, scattered(4), engine="batch" if slow == "windowed" else "windowed")
    monkeypatch.setitem(FIELD_METHODS, "gradient", timed)
    for again in (False, True):
        passes.clear()
        assert arrays_equal(read(IMAGES, scattered(4)).field, expected.field)
        assert (passes[slow == "windowed"] == 0) == again


def test_a_plain_batch_runs_as_many_operators_for_many_patches_as_for_one() -> None:
    network = backbone().eval()
    geometry = measure_geometry(network, "conv3")
    operators = []
    for patches in (1, 16):
        at = np.array([[[k % 3, 4, 4 + k // 3] for k in range(patches)]] * 6)
        with Counting() as counted, Copies() as copied:
            map_receptive_fields(
                network,
                "conv3",
                IMAGES,
                at,
                range(6),
                geometry,
                engine="batch",
                pixels_per_pass=1 << 30,
            )
        operators.append(counted.operators)
        assert counted.waits == 1, "the layer's rectifier is looked for"
        assert copied.names == {"cpu": 3}, "sums, activations and the check of the crops"
    assert operators[0] == operators[1] <= 220


def test_a_failed_check_says_in_which_arithmetic_it_was_made() -> None:
    class Mixing(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image - image.mean()

    network = nn.Sequential(nn.Conv2d(3, 4, 3), Mixing())
    geometry = measure_geometry(nn.Sequential(network[0]), "0")
    with pytest.raises(ValueError, match=r"computed in float32.*mixes images"):
        map_receptive_fields(network, "1", IMAGES, np.array([[[0, 9, 9]]]), [0], geometry)


def test_an_unknown_engine_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"no engine 'magic'.*windowed"):
        read(IMAGES, scattered(1), engine="magic")
