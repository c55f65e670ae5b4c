"""Devices that lack memory or a number format, and devices that cannot be used, end in one line."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir

import run
from deepsal.training.task import SaliencyTask
from tests.support import A100, NO_STEPS, ROOT, SMALL, composed, execute, start


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("bf16-true", r"half precision is too coarse .*; set trainer\.precision=bf16-mixed"),
        ("mixed", r"trainer\.precision=mixed: the choices are \['32-true'"),
        ("16-mixed", r"16-mixed needs a GPU; set trainer\.precision=bf16-mixed or 32-true"),
    ],
)
def test_a_precision_that_the_device_lacks_is_refused_before_anything_is_built(
    precision: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "build_objects", pytest.fail)
    options = [f"trainer.precision={precision}", "trainer.accelerator=cpu"]
    with pytest.raises(ValueError, match=message):
        execute(composed(tmp_path, *SMALL, "logger=csv", *options), tmp_path)


def test_a_training_that_runs_out_of_gpu_memory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.setattr(SaliencyTask, "training_step", allocate)
    config = composed(tmp_path, *SMALL, "logger=csv", "rf=none", "do=[fit]")
    with pytest.raises(MemoryError, match=r"set a smaller data\.batch_size or data\.size"):
        execute(config, tmp_path)
    assert "failed: MemoryError: the GPU has too" in (tmp_path / "status").read_text()


def test_a_resumed_run_may_keep_a_precision_that_no_new_run_could_take(tmp_path: Path) -> None:
    config = composed(tmp_path, *SMALL, "logger=csv", "do=[]", "trainer.accelerator=cpu")
    config.trainer.precision = "16-mixed"
    with pytest.raises(ValueError, match="16-mixed needs a GPU"):
        execute(config, tmp_path)
    with pytest.warns(UserWarning, match="not supported on CPU"):
        execute(config, tmp_path, tmp_path / "last.ckpt")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there_is_one_line(accelerator: str, tmp_path: Path) -> None:
    options = [*NO_STEPS, f"hydra.run.dir={tmp_path / 'run'}", f"trainer.accelerator={accelerator}"]
    _, said = start(tmp_path, *options, code=1)
    assert f"ValueError: trainer.accelerator={accelerator}: no GPU can be used here; set" in said
    assert "Traceback" not in said


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.version.cuda is None, reason="torch can use a GPU, or never"
)
def test_a_gpu_that_torch_cannot_use_is_one_line(
    tmp_path: Path, install_gpus: Callable[..., None]
) -> None:
    install_gpus(A100)
    _, said = start(tmp_path, *NO_STEPS, f"hydra.run.dir={tmp_path / 'run'}", code=1)
    assert f"built for CUDA {torch.version.cuda}, cannot use this machine's NVIDIA A100" in said
    assert "with driver 550.54.15 (Found no NVIDIA driver" in said
    assert "install a torch built for it or set trainer.accelerator=cpu" in said
    assert "Traceback" not in said
