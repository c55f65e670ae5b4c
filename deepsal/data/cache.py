"""Decoded images and densities in a file, so that an epoch costs no JPEG decoding.

A file holds records of one shape, and before them a checksum for each. Whoever needs a record that
is not there makes it, writes it, then writes its checksum; a record counts only if its checksum is
right. So no lock is needed: two processes write the same bytes, and what a killed one left is made
again. The file's name is a digest of all that decides its bytes: how each stimulus is read, the
path, size and time of change of its file (a digest of the contents would read every file at each
start), the size asked for, and the versions of the libraries that decode and resize.
"""

import os
import warnings
import weakref
import zlib
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepsal.data.dataset import SaliencyDataset, Stimulus

DECODING_LIBRARIES = ("pillow", "torch", "torchvision")
WRITTEN_FLAG = 1 << 32


class SharedRecords:
    """Tensors of one shape which several processes share, made once and then only read.

    Args:
        count: how many.
        shape: of each.
        dtype: of each.
        file: where they are kept; None keeps them in memory, for this process and its workers.
    """

    def __init__(
        self, count: int, shape: Sequence[int], dtype: torch.dtype, file: Path | None = None
    ) -> None:
        self.count, self.shape, self.dtype, self.file = count, tuple(shape), dtype, file
        self.each = dtype.itemsize * int(np.prod(self.shape))
        self.memory = self.made = None
        if file is None:
            self.memory = torch.empty(count, *shape, dtype=dtype).share_memory_()
            self.made = torch.zeros(count, dtype=torch.bool).share_memory_()
        self.full = False
        self.descriptor: int | None = None
        self.records: Any = None
        self.checked: set[int] = set()

    def get(self, index: int) -> Tensor | None:
        """Return a record, not to be changed in place; None if it has yet to be made."""
        if self.memory is not None and self.made is not None:
            return self.memory[index] if self.made[index] else None
        if self.descriptor is None and not self._open():
            return None
        record = self.records[index]
        if index not in self.checked:
            mark = os.pread(self.descriptor or 0, 8, 8 * index)
            if int.from_bytes(mark, "little") != WRITTEN_FLAG | zlib.crc32(record):
                return None
            self.checked.add(index)
        found: Tensor = torch.from_numpy(record).view(self.dtype).view(self.shape)
        return found

    def put(self, index: int, record: Tensor) -> None:
        """Keep a record; a full or read-only disk is told once, and the record is not kept."""
        if self.memory is not None and self.made is not None:
            self.memory[index] = record
            self.made[index] = True
            return
        if self.full or (self.descriptor is None and not self._open()):
            return
        data: Any = record.contiguous().view(-1).view(torch.uint8).numpy()
        mark = (WRITTEN_FLAG | zlib.crc32(data)).to_bytes(8, "little")
        try:
            _write_at_offset(
                self.descriptor or 0, memoryview(data), 8 * self.count + index * self.each
            )
            _write_at_offset(self.descriptor or 0, memoryview(mark), 8 * index)
        except OSError as error:
            self._give_up(error)

    def _open(self) -> bool:
        if self.full or self.file is None:
            return False
        total = self.count * (8 + self.each)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
            weakref.finalize(self, os.close, descriptor)
            os.ftruncate(descriptor, total)
            os.utime(descriptor)
        except OSError as error:
            self._give_up(error)
            return False
        self.descriptor = descriptor
        whole = np.memmap(self.file, np.uint8, "c", shape=(total,))
        self.records = np.asarray(whole[8 * self.count :]).reshape(self.count, self.each)
        return True

    def _give_up(self, error: OSError) -> None:
        self.full = True
        warnings.warn(
            f"{self.file} cannot be written ({error}): each epoch decodes what it lacks; set "
            "data.cache_dir to a folder with room, or to null",
            stacklevel=2,
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"descriptor": None, "records": None, "checked": set()}


class DatasetCache:
    """Where the decoded images and the densities of data sets are kept.

    Args:
        folder: their files, best on a disk of this machine; None keeps images in memory and makes
            each density anew.
        gib: how much may stay in the folder; what was not used for longest is removed first.
    """

    def __init__(self, folder: str | Path | None = None, gib: float = 20.0) -> None:
        self.folder = Path(folder).expanduser() if folder is not None else None
        self.gib = gib
        self.opened: dict[object, SharedRecords | None] = {}

    def images(self, dataset: SaliencyDataset, size: tuple[int, int]) -> SharedRecords:
        """Return the place for images, uint8 (3, h, w), in the order of the set's stimuli.

        It is in memory if a stimulus is not read from a file (generated ones).
        """
        key = "images", id(dataset), size
        if key not in self.opened:
            sources = [_pixel_fingerprint(stimulus) for stimulus in dataset.stimuli]
            file = self._file("images", (sources, size)) if all(sources) else None
            self.opened[key] = self._kept(len(sources), (3, *size), torch.uint8, file)
        kept = self.opened[key]
        assert kept
        return kept

    def densities(self, dataset: SaliencyDataset, size: tuple[int, int]) -> SharedRecords | None:
        """Return the place for densities, float (H, W): of stimulus i at 2i, of its mirror at 2i+1.

        None, for densities made anew each time, where the images are in memory.
        """
        key = "densities", id(dataset), size
        if key not in self.opened:
            kept = None
            if self.images(dataset, size).file:
                points = blake2b()
                for s in dataset.stimuli:
                    about = s.size, s.sigma or dataset.sigma, len(s.fixations)
                    points.update(repr(about).encode() + s.fixations.tobytes())
                file = self._file("densities", (points.hexdigest(), size))
                kept = self._kept(2 * len(dataset.stimuli), size, torch.float32, file)
            self.opened[key] = kept if kept and kept.file else None
        return self.opened[key]

    def _file(self, what: str, decides: object) -> Path | None:
        if self.folder is None:
            return None
        libraries = [(library, version(library)) for library in DECODING_LIBRARIES]
        digest = blake2b(repr((decides, libraries)).encode(), digest_size=16).hexdigest()
        return self.folder / f"{digest}.{what}"

    def _kept(
        self, count: int, shape: tuple[int, ...], dtype: torch.dtype, file: Path | None
    ) -> SharedRecords:
        if file:
            needed = count * (8 + dtype.itemsize * int(np.prod(shape)))
            if needed > self.gib * 2**30:
                warnings.warn(
                    f"{count} {file.suffix[1:]} need {needed / 2**30:.3g} GiB, but data.cache_gib="
                    f"{self.gib:g}: they are not kept in {self.folder}",
                    stacklevel=2,
                )
                file = None
            else:
                _remove_oldest_files(file, int(self.gib * 2**30) - needed)
        return SharedRecords(count, shape, dtype, file)


def _pixel_fingerprint(stimulus: Stimulus) -> tuple[Any, ...] | None:
    """Return what decides a stimulus's pixels, or None if it is not read from a file."""
    read = stimulus.read
    if not isinstance(read, partial):
        return None
    given = [*read.args, *read.keywords.values()]
    files = [Path(a).resolve() for a in given if isinstance(a, Path) and a.is_file()]
    if not files:
        return None
    about = [(str(f), (stat := f.stat()).st_size, stat.st_mtime_ns) for f in files]
    rest = [repr(a) for a in given if not isinstance(a, Path)]
    return stimulus.size, read.func.__module__, read.func.__qualname__, rest, about


def _remove_oldest_files(file: Path, rest: int) -> None:
    """Remove the files that were not used for the longest time until the others fit into `rest`."""
    others = []
    for other in [*file.parent.glob("*.images"), *file.parent.glob("*.densities")]:
        try:
            stat = other.stat()
        except FileNotFoundError:  # another process made room too
            continue
        if other != file:
            others.append((stat.st_mtime_ns, 512 * stat.st_blocks, other))
    for _, taken, other in sorted(others, reverse=True):
        rest -= taken
        if rest < 0:
            other.unlink(missing_ok=True)


def _write_at_offset(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
