import threading
import time
from pathlib import Path

import pytest
import torch

from deepsal.jobs import devices


def test_a_chosen_set_of_devices_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-a")
    assert devices.visible() == "2,GPU-a"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices.visible() == "0,1,2"


def test_jobs_spread_over_the_devices_and_no_device_has_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(devices.VARIABLE, "4,7")
    busy: dict[str, bool] = {}
    used: list[str] = []

    def job() -> None:
        with devices.lent("gpu", 1, tmp_path) as variables:
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
    monkeypatch.setenv(devices.VARIABLE, "0,1,2")
    for wanted, seen in ((2, "0,1"), ("auto", "0,1,2"), (-1, "0,1,2"), ([0], "0")):
        with devices.lent("auto", wanted, tmp_path) as variables:
            assert variables == {"CUDA_VISIBLE_DEVICES": seen}
    with pytest.raises(ValueError, match=r"trainer.devices=4: the visible devices are 0,1,2"):
        devices.lent("gpu", 4, tmp_path).__enter__()


@pytest.mark.parametrize(("accelerator", "seen"), [("auto", ""), ("cpu", "0,1")])
def test_without_a_gpu_jobs_take_turns(
    accelerator: str, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(devices.VARIABLE, seen)
    with devices.lent(accelerator, 2, tmp_path) as variables:
        assert variables == {"CUDA_VISIBLE_DEVICES": ""}
        assert [file.name for file in tmp_path.iterdir()] == ["cpu.lock"]
