"""Loaders whose order and augmentation depend only on the seed, the epoch and the position."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.distributed import DistributedSampler
from typing_extensions import override

from deepsal.data.batch import Batch, SeededIndex

SHARED_MEMORY = Path("/dev/shm")
"""Folder of shared memory on Linux; a container may have no more than 64 MB."""


class EpochSampler(DistributedSampler[SeededIndex]):
    """The training images of each epoch in random order, each with a seed for its augmentation.

    Order and seeds are a pure function of (seed, epoch, position), for any number of worker
    processes. Several ranks take turns, so that together they draw the images of one rank. The
    number of draws of an image is proportional to its weight, rounded up or down at random
    (systematic sampling). Equal weights give a plain shuffle.

    Each pass is the next epoch, unless `set_epoch` sets another one.

    Args:
        count: number of images, and of draws per epoch.
        seed: of the run, equal on all ranks; see `run_seed`.
        sampling_weights: relative frequency of each image; None for equal weights.
        skip: draws of this rank that the first pass leaves out, because they were used before.
    """

    def __init__(
        self, count: int, seed: int, sampling_weights: Sequence[float] | None = None, skip: int = 0
    ) -> None:
        ranks = _is_distributed()
        super().__init__(
            range(count),  # type: ignore[arg-type]  # only its length is used
            num_replicas=distributed.get_world_size() if ranks else 1,
            rank=distributed.get_rank() if ranks else 0,
            seed=seed,
        )
        self.count = count
        self.sampling_weights = torch.tensor(sampling_weights or [1.0] * count).double()
        self.skip = skip

    @override
    def __iter__(self) -> Iterator[SeededIndex]:
        draws = self.epoch_draws(self.epoch)[self.rank :: self.num_replicas][self.skip :]
        self.epoch, self.skip = self.epoch + 1, 0
        return iter(draws)

    def epoch_draws(self, epoch: int) -> list[SeededIndex]:
        """Return the draws of an epoch, which the ranks take in turn, filled up to equal shares."""
        (state,) = np.random.SeedSequence((self.seed, epoch)).generate_state(1)
        generator = torch.Generator().manual_seed(int(state))
        shuffled = torch.randperm(self.count, generator=generator)
        weights = self.sampling_weights[shuffled]
        bounds = weights.cumsum(0) * self.count / self.sampling_weights.sum()
        bounds = (bounds + torch.rand(1, generator=generator)).floor().long()
        bounds[-1] = self.count
        drawn = shuffled.repeat_interleave(bounds.diff(prepend=bounds.new_zeros(1)))
        drawn = drawn[torch.randperm(self.count, generator=generator)]
        seeds = torch.randint(2**32, (self.count,), generator=generator)
        draws = [SeededIndex(*pair) for pair in zip(drawn.tolist(), seeds.tolist(), strict=True)]
        return (draws * self.num_replicas)[: self.total_size]


class DeviceLoader(DataLoader[Batch]):
    """Batches on the device that uses them, with images in [0, 1].

    An epoch begins with the request for its first batch: before it, Lightning has not yet set the
    sampler's epoch in a resumed run. Torch's own random state does not change.

    Args:
        device: of the batches.
        *arguments: of torch's `DataLoader`.
        **options: of torch's `DataLoader`.
    """

    def __init__(self, *arguments: Any, device: torch.device | str = "cpu", **options: Any) -> None:
        own: dict[str, Any] = {"collate_fn": identity_collate, "generator": torch.Generator()}
        super().__init__(*arguments, **own | options)
        self.device = torch.device(device)

    @override
    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                raise plain_worker_error(error, self.num_workers) from error
            yield batch.to_device(self.device)


def plain_worker_error(error: RuntimeError, workers: int) -> Exception:
    """Return an error that names the option to set, if loader processes have no memory or died.

    >>> plain_worker_error(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed"), 2)
    OSError('data.num_workers=2: a loader process died (...
    """
    text = str(error)
    shared = any(sign in text for sign in ("shared memory", "shm", "Bus error"))
    if not workers or not (shared or ("DataLoader" in text and "Caught" not in text)):
        return error
    (line, *_) = [part for part in reversed(text.splitlines()) if part.strip()]
    cause = f"has no shared memory, of which {SHARED_MEMORY} has {_free_shared_mib()} MiB free"
    return OSError(
        f"data.num_workers={workers}: a loader process {cause if shared else 'died'} ({line}); "
        "set data.num_workers=0, or start the container with more, such as --shm-size=2g"
    )


def _free_shared_mib() -> int:
    return shutil.disk_usage(SHARED_MEMORY).free >> 20 if SHARED_MEMORY.is_dir() else 0


def run_seed() -> int:
    """Return the seed of torch's generator on the first rank."""
    seed = [torch.initial_seed()]
    if _is_distributed():
        distributed.broadcast_object_list(seed)
    return seed[0]


def identity_collate(batch: Any) -> Any:
    """Return a batch, which the data set has collated already; a worker's is in shared memory.

    A worker that would move it there later, in another thread, would lose it without an error.
    """
    if get_worker_info() is not None:
        for part in batch:
            for value in part if isinstance(part, list) else [part]:
                if isinstance(value, torch.Tensor) and value.numel():
                    value.share_memory_()
    return batch


def default_worker_count(device: torch.device, ranks: int = 1, batch_bytes: int = 0) -> int:
    """Return the number of loader processes for a device.

    0 for a CPU, whose cores train (and for devices other than NVIDIA's and AMD's); for a GPU its
    share of the cores less one, at most 8.

    Args:
        device: the device that trains.
        ranks: number of training processes on this machine.
        batch_bytes: size of a batch; half of the free shared memory must hold three per worker.
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
