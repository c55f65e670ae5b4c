import pickle
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from deepsal.rf.mapping.gradient_fields import map_receptive_fields
from deepsal.training.compiled_forward import CompiledForward
from deepsal.training.task import SaliencyTask
from tests import conftest
from tests.training.support import fit

IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
SIZE = (64, 96)
COMPILE: Callable[..., Any] = torch.compile


def compiled_task(compile: bool | str = True) -> SaliencyTask:
    plain = conftest.task()
    parts = plain.finetune, plain.loss, plain.optimizer, plain.lr, plain.schedule
    return SaliencyTask(plain.network, *parts, compile=compile)


pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(autouse=True)
def _as_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the checks of shapes that only tests make: torch cannot compile them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    torch.compiler.reset()


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compile with a backend that needs no C++ compiler; return the modes asked for."""
    modes: list[str] = []

    def cheap(forward: Callable[..., Tensor], mode: str) -> Any:
        modes.append(mode)
        return COMPILE(forward, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", cheap)
    return modes


def test_a_compiled_fit_ends_where_a_plain_one_does_with_the_same_names(
    backend: list[str], tmp_path: Path
) -> None:
    plain, compiled = conftest.task(), compiled_task("max-autotune")
    keys = list(compiled.state_dict())
    fit(plain, tmp_path / "plain")
    fit(compiled, tmp_path / "compiled")
    assert backend == ["max-autotune"]
    assert list(compiled.state_dict()) == keys == list(plain.state_dict())
    with torch.no_grad():
        predictions = [
            module.network.eval()(IMAGE) for module in (plain, compiled, conftest.task())
        ]
    assert torch.allclose(predictions[0], predictions[1], atol=1e-3)
    assert not torch.allclose(predictions[0], predictions[2], atol=1e-1)


def test_hooks_are_called_and_fields_are_mapped_after_a_compiled_step(backend: list[str]) -> None:
    module = compiled_task()
    assert module.compiled
    module.compiled(IMAGE, SIZE).sum().backward()
    assert backend == ["default"]
    heard: list[int] = []
    handle = module.network.backbone.conv3.register_forward_hook(lambda *_: heard.append(1))
    module.compiled(IMAGE, SIZE)
    handle.remove()
    module.compiled(IMAGE, SIZE)
    assert heard == [1]
    plain = deepcopy(module.network)
    found, expected = (
        map_receptive_fields(net, "backbone.conv3", IMAGE, np.array([[[0, 4, 6]]]), [1]).field
        for net in (module.network, plain)
    )
    assert np.array_equal(found, expected)
    assert np.abs(found).max() > 0


def test_copies_and_pickles_compile_their_own_network(backend: list[str]) -> None:
    module = compiled_task()
    assert module.compiled
    expected = module.compiled(IMAGE, SIZE)
    other = deepcopy(module)
    assert other.compiled
    assert other.compiled.network is other.network
    for forward in (other.compiled, pickle.loads(pickle.dumps(module.compiled))):
        assert forward.network is not module.network
        assert torch.allclose(forward(IMAGE, SIZE), expected, atol=1e-5)


def test_without_a_compiler_one_line_says_how_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", lambda f, mode: COMPILE(f, backend=broken))
    with pytest.raises(ValueError, match=r"^torch\.compile failed \(.*No working C\+\+") as error:
        CompiledForward(conftest.task().network, True)(IMAGE, SIZE)
    assert "task.compile=false" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_mode_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"task\.compile=fast: the choices are .*max-autotune"):
        compiled_task("fast")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_inductor_gives_the_prediction_of_the_plain_network() -> None:
    network = conftest.task().network.eval()
    with torch.no_grad():
        compiled, plain = CompiledForward(network, True)(IMAGE, SIZE), network(IMAGE, SIZE)
    assert torch.allclose(compiled, plain, rtol=1e-4, atol=1e-4)
