import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsal.sweeps import gpu_locks
from tests.support import A100


def test_a_chosen_set_of_devices_is_respected(
    monkeypatch: pytest.MonkeyPatch, install_gpus: Callable[..., None]
) -> None:
    install_gpus(A100, A100, A100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-a")
    assert gpu_locks.visible_devices() == "2,GPU-a"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpu_locks.visible_devices() == "0,1,2"


@pytest.mark.parametrize(("chosen", "seen"), [("2,GPU-a", "2,GPU-a"), ("", ""), (None, "0,1")])
def test_what_submitit_hides_from_a_job_is_visible_again(
    chosen: str | None,
    seen: str,
    monkeypatch: pytest.MonkeyPatch,
    install_gpus: Callable[..., None],
) -> None:
    install_gpus(A100, A100)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    monkeypatch.setenv(gpu_locks.DEVICES_VARIABLE, "of an earlier sweep")
    gpu_locks.save_visible_devices()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # submitit
    gpu_locks.restore_visible_devices()
    assert gpu_locks.visible_devices() == seen


def test_jobs_spread_over_the_devices_and_no_device_has_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    busy: dict[str, bool] = {}
    used: list[str] = []

    def job() -> None:
        with gpu_locks.lock_devices("gpu", 1, tmp_path) as variables:
            device = variables["CUDA_VISIBLE_DEVICES"]
            assert not busy.get(device)
            busy[device] = True
            time.sleep(0.3)
            busy[device] = False
            used.append(device)

    threads = [threading.Thread(target=job) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(used) == 5
    assert set(used) == {"4", "7"}


def test_a_job_of_two_devices_gets_both_and_gives_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    for wanted, seen in ((2, "0,1"), ("auto", "0,1,2"), (-1, "0,1,2"), ([0], "0")):
        with gpu_locks.lock_devices("auto", wanted, tmp_path) as variables:
            assert variables == {"CUDA_VISIBLE_DEVICES": seen}
    with pytest.raises(ValueError, match=r"trainer.devices=4: the visible devices are 0,1,2"):
        gpu_locks.lock_devices("gpu", 4, tmp_path).__enter__()


@pytest.mark.parametrize(("accelerator", "seen"), [("auto", ""), ("cpu", "0,1")])
def test_without_a_gpu_jobs_take_turns(
    accelerator: str, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    with gpu_locks.lock_devices(accelerator, 2, tmp_path) as variables:
        assert variables == {"CUDA_VISIBLE_DEVICES": ""}
        assert [file.name for file in tmp_path.iterdir()] == ["cpu.lock"]
