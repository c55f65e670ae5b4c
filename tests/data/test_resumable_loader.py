import os
import shutil
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from deepsal.data import SaliencyDataModule, popout_dataset, resumable_loader
from deepsal.data.resumable_loader import DeviceLoader, EpochSampler, default_worker_count
from tests.conftest import datamodule
from tests.data.support import all_equal_batches, epoch_batches, equal_batches


def augmented(workers: int = 0, seed: int = 0) -> SaliencyDataModule:
    torch.manual_seed(seed)
    data = popout_dataset((16, 6, 1), size=(64, 96))
    return SaliencyDataModule(data, (48, 64), 4, 0.5, workers, crop=0.7, colour=0.3)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cut_epoch_goes_on_with_its_next_batch(workers: int) -> None:
    torch.manual_seed(0)
    data = datamodule((16, 1, 1), workers)
    whole = epoch_batches(data, 2)
    data.batches_to_skip = 3
    loader = data.train_dataloader()
    (rest,) = loader
    assert equal_batches(rest, whole[3])
    assert all_equal_batches(list(loader), whole[4:]), "the next epoch is whole"
    assert data.batches_to_skip == 0


def test_a_resumed_epoch_is_the_one_that_is_set_after_the_iterator_is_asked_for() -> None:
    whole = epoch_batches(augmented())
    data = augmented()
    data.batches_to_skip = 1
    loader = data.train_dataloader()
    batches = iter(loader)
    assert isinstance(loader.sampler, EpochSampler)
    loader.sampler.set_epoch(2)
    assert all_equal_batches(list(batches), whole[9:])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_batch_of_any_epoch(workers: int) -> None:
    main = epoch_batches(augmented())
    assert all_equal_batches(epoch_batches(augmented(workers)), main)
    assert not all_equal_batches(main[:4], main[4:8]), "epochs differ"
    assert not all_equal_batches(epoch_batches(augmented(seed=1)), main), "seeds differ"


def test_workers_that_stay_give_what_fresh_ones_give() -> None:
    stay = epoch_batches(augmented(2))
    fresh = []
    for epoch in range(3):
        loader = augmented(2).train_dataloader()
        assert isinstance(loader.sampler, EpochSampler)
        loader.sampler.set_epoch(epoch)
        fresh += list(loader)
    assert all_equal_batches(stay, fresh)


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_random_state_of_torch(workers: int) -> None:
    data = augmented(workers)
    before = torch.get_rng_state()
    assert len([*data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]) == 6
    assert torch.equal(torch.get_rng_state(), before)


def _draw_as_rank(rank: int, folder: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2
    )
    torch.manual_seed(rank)
    for images in (8, 7):
        data = SaliencyDataModule(popout_dataset((images, 1, 1), size=(32, 32)), (32, 32), 2)
        batches = [[*map(tuple, draws)] for draws in data.train_dataloader().batch_sampler or ()]
        torch.save(batches, folder / f"{images}-{rank}")
    distributed.destroy_process_group()


def test_two_ranks_together_see_what_one_sees(tmp_path: Path) -> None:
    spawn(_draw_as_rank, (tmp_path,), nprocs=2)
    for images in (8, 7):
        one = [tuple(draw) for draw in EpochSampler(images, seed=0)]
        filled = (one + one)[:8]  # seven images are filled up with the first
        shares = [torch.load(tmp_path / f"{images}-{rank}") for rank in range(2)]
        steps = [sorted(a + b) for a, b in zip(*shares, strict=True)]
        assert steps == [sorted(filled[:4]), sorted(filled[4:])]


def test_every_image_is_drawn_once_an_epoch_in_ever_new_order() -> None:
    sampler = EpochSampler(50, seed=3)
    orders = [[draw.position for draw in sampler] for _ in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(map(tuple, orders))) == 3
    assert len({draw.seed for _ in range(3) for draw in sampler}) == 150


@pytest.mark.parametrize("unit", [0.1, 1.0, 7.0])
def test_equal_chances_give_a_plain_shuffle(unit: float) -> None:
    assert list(EpochSampler(30, 3, [unit] * 30)) == list(EpochSampler(30, 3))


def test_an_image_comes_up_as_often_as_its_chance_says() -> None:
    sampler = EpochSampler(40, 0, [0.0] + [1.0] * 19 + [3.0] * 20)
    counts = [Counter(draw.position for draw in sampler) for _ in range(200)]
    total = sum(counts, Counter[int]())
    assert all(count.total() == 40 for count in counts)
    assert total[0] == 0
    expected = 40 / 79
    assert {count[5] for count in counts} == {0, 1}
    assert {count[25] for count in counts} == {1, 2}
    assert total[5] / 200 == pytest.approx(expected, abs=0.12)
    assert total[25] / 200 == pytest.approx(3 * expected, abs=0.12)


def test_a_gpu_has_workers_of_its_own_and_a_cpu_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    usual = partial(default_worker_count, gpu)
    assert [default_worker_count(cpu), usual(1), usual(2), usual(4), usual(32)] == [0, 8, 7, 3, 0]


def test_workers_share_no_more_memory_than_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(resumable_loader, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=64 << 20))
    gpu, batch = torch.device("cuda"), 16 * 192 * 256 * 11
    assert [default_worker_count(gpu, ranks, batch) for ranks in (1, 2)] == [1, 0]
    assert default_worker_count(gpu, 1, 10 * batch) == 0
    monkeypatch.setattr(resumable_loader, "SHARED_MEMORY", tmp_path / "no Linux")
    assert default_worker_count(gpu, 1, 10 * batch) == 8


class DyingImages(torch.utils.data.Dataset[torch.Tensor]):
    """An image that ends its process, or finds no shared memory."""

    def __init__(self, end: str) -> None:
        self.end = end

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>")


@pytest.mark.parametrize(
    ("end", "cause"), [("killed", "died"), ("full", "has no shared memory, of which /dev/shm has")]
)
def test_a_loader_process_that_ends_is_an_error_with_the_cure(end: str, cause: str) -> None:
    loader = DeviceLoader(DyingImages(end), None, num_workers=1)
    with pytest.raises(OSError, match=rf"data\.num_workers=1: a loader process {cause}.*set data"):
        next(iter(loader))


def test_a_worker_gives_its_batches_in_shared_memory() -> None:
    (batch, *_) = datamodule(workers=1).val_dataloader()
    assert batch.density.is_shared()
    assert batch.points[0].is_shared()
