"""Batches whose order and augmentation depend on the seed, the epoch and the position alone."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler
from typing_extensions import override

from deepsal.data.batch import Batch, SeededIndex

SHARED_MEMORY = Path("/dev/shm")
"""What processes of Linux share their memory in; a container may have no more than 64 MB."""


class EpochSampler(DistributedSampler[SeededIndex]):
    """The training images of each epoch in random order, each with a seed for its augmentation.

    Order and seeds are a pure function of (seed, epoch, position), whatever the number of worker
    processes. Several ranks take turns, so that together they see what one rank sees. An image that
    is drawn by chance comes up as often as its chance says, rounded up or down at random
    (systematic sampling): equal chances give a plain shuffle.

    Each pass is the next epoch, unless `set_epoch` says which one it is.

    Args:
        count: how many images there are, and how many draws an epoch has.
        seed: of the run, equal on all ranks; see `run_seed`.
        chances: how likely each image is to be drawn, in any unit; None for equal chances.
        skip: draws of this rank that the first pass leaves out, because they were used before.
    """

    def __init__(
        self, count: int, seed: int, chances: Sequence[float] | None = None, skip: int = 0
    ) -> None:
        ranks = _is_distributed()
        super().__init__(
            range(count),  # type: ignore[arg-type]  # only its length is used
            num_replicas=distributed.get_world_size() if ranks else 1,
            rank=distributed.get_rank() if ranks else 0,
            seed=seed,
        )
        self.count = count
        self.chances = torch.tensor(chances or [1.0] * count, dtype=torch.float64)
        self.skip = skip

    @override
    def __iter__(self) -> Iterator[SeededIndex]:
        draws = self.draws(self.epoch)[self.rank :: self.num_replicas][self.skip :]
        self.epoch, self.skip = self.epoch + 1, 0
        return iter(draws)

    def draws(self, epoch: int) -> list[SeededIndex]:
        """Return the draws of an epoch for all ranks in turn, filled up to equal shares."""
        (state,) = np.random.SeedSequence((self.seed, epoch)).generate_state(1)
        generator = torch.Generator().manual_seed(int(state))
        shuffled = torch.randperm(self.count, generator=generator)
        until = self.chances[shuffled].cumsum(0) * self.count / self.chances.sum()
        until = (until + torch.rand(1, generator=generator)).floor().long()
        until[-1] = self.count
        drawn = shuffled.repeat_interleave(until.diff(prepend=until.new_zeros(1)))
        drawn = drawn[torch.randperm(self.count, generator=generator)]
        seeds = torch.randint(2**32, (self.count,), generator=generator)
        draws = [SeededIndex(*pair) for pair in zip(drawn.tolist(), seeds.tolist(), strict=True)]
        return (draws * self.num_replicas)[: self.total_size]


class DeviceLoader(DataLoader[Batch]):
    """Batches on the device they are used on, with images in [0, 1].

    An epoch begins when its first batch is asked for: only then has Lightning told the
    sampler which epoch a resumed run is in. Torch's own random state is left as it is.

    Args:
        device: where the batches go.
        *given: as torch's.
        **named: as torch's.
    """

    def __init__(self, *given: Any, device: torch.device | str = "cpu", **named: Any) -> None:
        own: dict[str, Any] = {"collate_fn": identity_collate, "generator": torch.Generator()}
        super().__init__(*given, **own | named)
        self.device = torch.device(device)

    @override
    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batch in super().__iter__():
            yield batch.on(self.device)


def run_seed() -> int:
    """Return the seed of torch's generator, that of the first rank on all ranks."""
    seed = [torch.initial_seed()]
    if _is_distributed():
        distributed.broadcast_object_list(seed)
    return seed[0]


def identity_collate(batch: Any) -> Any:
    """Return what a data set has collated already."""
    return batch


def default_worker_count(device: torch.device, ranks: int = 1, batch_bytes: int = 0) -> int:
    """Return how many loader processes feed a device.

    None for a CPU, which has to train itself (and for other devices than NVIDIA's and AMD's); for a
    GPU its share of the cores less one, at most 8.

    Args:
        device: that trains.
        ranks: training processes on this machine.
        batch_bytes: of a batch; half of the free shared memory has to hold three for each worker.
    """
    if device.type != "cuda":
        return 0
    affinity = getattr(os, "sched_getaffinity", None)  # only on Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    room = 8
    if batch_bytes and SHARED_MEMORY.is_dir():
        room = shutil.disk_usage(SHARED_MEMORY).free // (2 * ranks * 3 * batch_bytes)
    return max(0, min(8, cores // ranks - 1, room))


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
