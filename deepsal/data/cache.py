"""Cache of decoded images and densities in files, so that an epoch decodes no JPEG file.

A file holds records of one shape, and before them a checksum for each. A process that needs a
missing record computes it, writes it, then writes its checksum. A record counts only if its
checksum is right. So no lock is needed: two processes write the same bytes, and the partial record
of a killed process is computed again. The file's name is a digest of everything that decides its
bytes: the function that reads each stimulus, the path, size and modification time of its file (a
digest of the contents would read every file at each start), the target size, and the versions of
the libraries that decode and resize.
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
    """Tensors of one shape that several processes share, written once and then only read.

    Args:
        count: number of records.
        shape: of each record.
        dtype: of each record.
        file: holds the records; None for memory, shared by this process and its workers.
    """

    def __init__(
        self, count: int, shape: Sequence[int], dtype: torch.dtype, file: Path | None = None
    ) -> None:
        self.count, self.shape, self.dtype, self.file = count, tuple(shape), dtype, file
        self.record_bytes = dtype.itemsize * int(np.prod(self.shape))
        self.memory = self.written = None
        if file is None:
            self.memory = torch.empty(count, *shape, dtype=dtype)
            self.written = torch.zeros(count, dtype=torch.bool)
            try:
                self.memory.share_memory_()
                self.written.share_memory_()
            except RuntimeError as error:
                warnings.warn(
                    f"{self.memory.nbytes / 2**20:.0f} MiB of images do not fit into shared memory "
                    f"({error}): each loader process decodes its own; set data.cache_dir to a "
                    "folder, or start the container with more, such as --shm-size=2g",
                    stacklevel=2,
                )
        self.unwritable = False
        self.descriptor: int | None = None
        self.records: Any = None
        self.verified: set[int] = set()

    def get(self, index: int) -> Tensor | None:
        """Return a record, which must not be changed in place; None if it is not yet written."""
        if self.memory is not None and self.written is not None:
            return self.memory[index] if self.written[index] else None
        if self.descriptor is None and not self._open():
            return None
        record = self.records[index]
        if index not in self.verified:
            mark = os.pread(self.descriptor or 0, 8, 8 * index)
            if int.from_bytes(mark, "little") != WRITTEN_FLAG | zlib.crc32(record):
                return None
            self.verified.add(index)
        tensor: Tensor = torch.from_numpy(record).view(self.dtype).view(self.shape)
        return tensor

    def put(self, index: int, record: Tensor) -> None:
        """Write a record; a full or read-only disk gives one warning, and nothing is written."""
        if self.memory is not None and self.written is not None:
            self.memory[index] = record
            self.written[index] = True
            return
        if self.unwritable or (self.descriptor is None and not self._open()):
            return
        data: Any = record.contiguous().view(-1).view(torch.uint8).numpy()
        mark = (WRITTEN_FLAG | zlib.crc32(data)).to_bytes(8, "little")
        offset = 8 * self.count + index * self.record_bytes
        try:
            _write_at_offset(self.descriptor or 0, memoryview(data), offset)
            _write_at_offset(self.descriptor or 0, memoryview(mark), 8 * index)
        except OSError as error:
            self._warn_unwritable(error)

    def _open(self) -> bool:
        if self.unwritable or self.file is None:
            return False
        total = self.count * (8 + self.record_bytes)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
            weakref.finalize(self, os.close, descriptor)
            os.ftruncate(descriptor, total)
            os.utime(descriptor)
        except OSError as error:
            self._warn_unwritable(error)
            return False
        self.descriptor = descriptor
        content = np.memmap(self.file, np.uint8, "c", shape=(total,))
        self.records = np.asarray(content[8 * self.count :]).reshape(self.count, self.record_bytes)
        return True

    def _warn_unwritable(self, error: OSError) -> None:
        self.unwritable = True
        warnings.warn(
            f"{self.file} cannot be written ({error}): each epoch decodes the missing images; set "
            "data.cache_dir to a folder with room, or to null",
            stacklevel=2,
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"descriptor": None, "records": None, "verified": set()}


class DatasetCache:
    """Cache of the decoded images and the densities of data sets.

    Args:
        folder: for the files, best on a disk of this machine. None holds images in memory and
            computes each density when it is needed.
        max_gib: largest size of the folder in GiB; the files not used for the longest time are
            removed first.
    """

    def __init__(self, folder: str | Path | None = None, max_gib: float = 20.0) -> None:
        self.folder = _expanded_folder(folder) if folder is not None else None
        self.max_gib = max_gib
        self.records: dict[object, SharedRecords | None] = {}

    def images(
        self, dataset: SaliencyDataset, size: tuple[int, int], fit: str = "squeeze"
    ) -> SharedRecords:
        """Return the records of images, uint8 (3, h, w), in the order of the data set's stimuli.

        They are in memory if a stimulus is not read from a file (generated images).
        """
        key = "images", id(dataset), size, fit
        if key not in self.records:
            sources = [_pixel_fingerprint(stimulus) for stimulus in dataset.stimuli]
            file = self._file_path("images", (sources, size, fit)) if all(sources) else None
            self.records[key] = self._open_records(len(sources), (3, *size), torch.uint8, file)
        records = self.records[key]
        assert records
        return records

    def densities(
        self, dataset: SaliencyDataset, size: tuple[int, int], fit: str = "squeeze"
    ) -> SharedRecords | None:
        """Return the records of densities, float (H, W): of stimulus i at 2i, flipped at 2i+1.

        None, for densities that are not cached, if the images are in memory.
        """
        key = "densities", id(dataset), size, fit
        if key not in self.records:
            records = None
            if self.images(dataset, size, fit).file:
                points = blake2b()
                for s in dataset.stimuli:
                    about = s.size, s.sigma or dataset.sigma, len(s.fixations)
                    points.update(repr(about).encode() + s.fixations.tobytes())
                file = self._file_path("densities", (points.hexdigest(), size, fit))
                records = self._open_records(2 * len(dataset.stimuli), size, torch.float32, file)
            self.records[key] = records if records and records.file else None
        return self.records[key]

    def _file_path(self, kind: str, inputs: object) -> Path | None:
        """Return the file whose name is the digest of the inputs that decide its content."""
        if self.folder is None:
            return None
        libraries = [(library, version(library)) for library in DECODING_LIBRARIES]
        digest = blake2b(repr((inputs, libraries)).encode(), digest_size=16).hexdigest()
        return self.folder / f"{digest}.{kind}"

    def _open_records(
        self, count: int, shape: tuple[int, ...], dtype: torch.dtype, file: Path | None
    ) -> SharedRecords:
        if file:
            needed = count * (8 + dtype.itemsize * int(np.prod(shape)))
            if needed > self.max_gib * 2**30:
                warnings.warn(
                    f"{count} {file.suffix[1:]} need {needed / 2**30:.3g} GiB, but data.cache_gib="
                    f"{self.max_gib:g}: they are not cached in {self.folder}",
                    stacklevel=2,
                )
                file = None
            else:
                _remove_oldest_files(file, int(self.max_gib * 2**30) - needed)
        return SharedRecords(count, shape, dtype, file)


def _expanded_folder(folder: str | Path) -> Path | None:
    """Return a folder with ~ expanded, or None, with a warning, for a user without a home."""
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        warnings.warn(
            f"{folder} is no folder here ({error}): decoded images are not stored for other runs; "
            "set data.cache_dir=FOLDER, or data.cache_dir=null",
            stacklevel=2,
        )
        return None


def _pixel_fingerprint(stimulus: Stimulus) -> tuple[Any, ...] | None:
    """Return everything that decides a stimulus's pixels, or None if it is not read from a file."""
    read = stimulus.read
    if not isinstance(read, partial):
        return None
    arguments = [*read.args, *read.keywords.values()]
    files = [Path(a).resolve() for a in arguments if isinstance(a, Path) and a.is_file()]
    if not files:
        return None
    about = [(str(f), (stat := f.stat()).st_size, stat.st_mtime_ns) for f in files]
    rest = [repr(a) for a in arguments if not isinstance(a, Path)]
    return stimulus.size, read.func.__module__, read.func.__qualname__, rest, about


def _remove_oldest_files(file: Path, max_bytes: int) -> None:
    """Remove the files not used for the longest time until those other than `file` fit."""
    others = []
    for other in [*file.parent.glob("*.images"), *file.parent.glob("*.densities")]:
        try:
            stat = other.stat()
        except FileNotFoundError:  # another process removed it
            continue
        if other != file:
            others.append((stat.st_mtime_ns, 512 * stat.st_blocks, other))
    for _, size, other in sorted(others, reverse=True):
        max_bytes -= size
        if max_bytes < 0:
            other.unlink(missing_ok=True)


def _write_at_offset(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
