"""Files of fields: one per checkpoint, each layer readable on its own."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepsal.atomic import replace_file
from deepsal.rf.mapping.gradient_fields import ReceptiveFields

FIELD_MEMBERS = tuple(member.name for member in dataclasses.fields(ReceptiveFields))
"""Arrays of an entry; a file may hold others, which are ignored."""


class FieldEvolution(NamedTuple):
    """Fields of some units of one layer at T checkpoints, in order.

    field: float32 (T, U, 3, h, w) · units: (U,) channels · checkpoints: T file stems.
    """

    field: NDArray[np.float32]
    units: NDArray[np.int64]
    checkpoints: list[str]


def save_fields(
    path: Path,
    fields: Mapping[str, ReceptiveFields],
    description: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write fields under names such as `conv4/centred`, with a JSON description, atomically.

    The file is not compressed: deflating such numbers saves a tenth of the space and takes longer
    than computing them.

    Args:
        path: the `.npz` file; its folder is created.
        fields: `{entry: fields}`.
        description: method, epoch, data set, versions …, as plain JSON values.
        arrays: further arrays, such as `conv4/disks`; `load_stage_arrays` reads them.
    """
    members = {
        f"{entry}/{member}": getattr(value, member)
        for entry, value in fields.items()
        for member in FIELD_MEMBERS
    }
    about = np.array(json.dumps(dict(description)))
    save_arrays(path, {**members, **(arrays or {}), "about": about})


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as one `.npz`, atomically; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # its last keyword is a bool


def load_fields(path: Path, entry: str) -> ReceptiveFields:
    """Read one entry, such as `conv4/strongest`, without reading the others.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such entry; the message lists the entries of the file.
    """
    with np.load(path) as file:
        if f"{entry}/field" not in file:
            raise ValueError(f"{path} has no fields {entry!r}; it has {entry_names(path)}")
        return ReceptiveFields(**{member: file[f"{entry}/{member}"] for member in FIELD_MEMBERS})


def load_stage_arrays(path: Path, stage: str) -> dict[str, NDArray[Any]]:
    """Read a stage's further arrays: `conv4/disks` of the stage `conv4` is returned as `disks`."""
    start = f"{stage}/"
    with np.load(path) as file:
        keys = {key.removeprefix(start): key for key in file.files if key.startswith(start)}
        return {name: file[key] for name, key in keys.items() if "/" not in name}


def load_evolution(folder: Path, entry: str, units: Sequence[int] | None = None) -> FieldEvolution:
    """Read one entry at every checkpoint of a run, as one array.

    Args:
        folder: holds `epoch=000.npz`, `epoch=002.npz` …
        entry: such as `conv4/centred`.
        units: channels; None for all that were stored.

    Raises:
        FileNotFoundError: no checkpoint's fields in the folder.
        ValueError: no such entry or unit, or files that hold different units or windows.
    """
    files = field_files(folder)
    first = load_fields(files[0], entry)
    stored = first.units.tolist()
    channels = list(stored if units is None else units)
    if unknown := [unit for unit in channels if unit not in stored]:
        raise ValueError(f"{files[0]} has no units {unknown} of {entry}; it has {stored}")
    rows = [stored.index(unit) for unit in channels]
    evolution: list[NDArray[np.float32]] = []
    for file in files:
        fields = load_fields(file, entry)
        if fields.units.tolist() != stored or fields.field.shape != first.field.shape:
            raise ValueError(f"{file} holds other units or windows of {entry} than {files[0]}")
        evolution.append(fields.field[rows])
    return FieldEvolution(np.stack(evolution), np.asarray(channels), [file.stem for file in files])


def field_files(folder: Path) -> list[Path]:
    """Return a run's files `epoch=NNN.npz` in the order of epochs.

    Raises:
        FileNotFoundError: the folder has no such file.
    """
    files = sorted(folder.glob("epoch=*.npz"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise FileNotFoundError(f"{folder} holds no fields (epoch=NNN.npz); run with rf=standard")
    return files


def entry_names(path: Path) -> list[str]:
    """Return the names of the fields in a file, such as `conv4/centred`."""
    with np.load(path) as file:
        return [key.removesuffix("/field") for key in file.files if key.endswith("/field")]


def load_description(path: Path) -> dict[str, Any]:
    """Return the description written with the fields."""
    with np.load(path) as file:
        description: dict[str, Any] = json.loads(str(file["about"]))
        return description


def weights_fingerprint(network: nn.Module) -> str:
    """Return the SHA-256 of a network's parameters and buffers with their names.

    >>> layer = nn.Linear(2, 2)
    >>> before = weights_fingerprint(layer)
    >>> _ = layer.bias.data.add_(1)
    >>> before == weights_fingerprint(layer)
    False
    """
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()
