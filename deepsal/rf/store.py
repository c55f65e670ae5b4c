"""Fields on disk: one file per checkpoint, each layer readable on its own."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepsal.rf.mapping.gradient_fields import ReceptiveFields

FIELD_MEMBERS = tuple(member.name for member in dataclasses.fields(ReceptiveFields))


class FieldEvolution(NamedTuple):
    """Some units of one layer through training.

    field: float32 (T, U, 3, h, w) · units: (U,) channels · checkpoints: T names, in order.
    """

    field: NDArray[np.float32]
    units: NDArray[np.int64]
    checkpoints: list[str]


def save_fields(
    path: Path,
    fields: Mapping[str, ReceptiveFields],
    about: Mapping[str, Any],
    others: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write fields under names such as `conv4/centred`, with a JSON description, atomically.

    Not compressed: deflating such numbers saves a tenth of the space and takes longer than
    computing them.

    Args:
        path: the `.npz` file; its folder is made.
        fields: `{name: fields}`.
        about: what made them (method, epoch, data set, versions …), plain JSON values.
        others: arrays to keep beside them, such as `conv4/disks`; `load_stage_arrays` reads them.
    """
    arrays = {
        f"{name}/{member}": getattr(found, member)
        for name, found in fields.items()
        for member in FIELD_MEMBERS
    }
    save_arrays(path, {**arrays, **(others or {}), "about": np.array(json.dumps(dict(about)))})


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as one `.npz`, atomically; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # its last keyword is a bool
    os.replace(partial, path)


def load_fields(path: Path, name: str) -> ReceptiveFields:
    """Read one entry, such as `conv4/strongest`, without reading the others.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such entry; the message lists those there are.
    """
    with np.load(path) as file:
        if f"{name}/field" not in file:
            raise ValueError(f"{path} has no fields {name!r}; it has {entry_names(path)}")
        return ReceptiveFields(**{member: file[f"{name}/{member}"] for member in FIELD_MEMBERS})


def load_stage_arrays(path: Path, layer: str) -> dict[str, NDArray[Any]]:
    """Read the arrays kept beside a layer's fields: what `conv4/disks` holds is called `disks`."""
    start = f"{layer}/"
    with np.load(path) as file:
        kept = {key.removeprefix(start): key for key in file.files if key.startswith(start)}
        return {name: file[key] for name, key in kept.items() if "/" not in name}


def load_evolution(folder: Path, name: str, units: Sequence[int] | None = None) -> FieldEvolution:
    """Read what one entry was at every checkpoint of a run, as one array.

    Args:
        folder: holds `epoch=000.npz`, `epoch=002.npz` …
        name: the entry, such as `conv4/centred`.
        units: channels; None for all that were stored.

    Raises:
        FileNotFoundError: no checkpoint's fields in the folder.
        ValueError: no such entry or unit, or files that hold different units or windows.
    """
    files = field_files(folder)
    stored = load_fields(files[0], name).units.tolist()
    wanted = list(stored if units is None else units)
    if unknown := [unit for unit in wanted if unit not in stored]:
        raise ValueError(f"{files[0]} has no units {unknown} of {name}; it has {stored}")
    at = [stored.index(unit) for unit in wanted]
    found: list[NDArray[np.float32]] = []
    for file in files:
        here = load_fields(file, name)
        if here.units.tolist() != stored or (found and here.field[at].shape != found[0].shape):
            raise ValueError(f"{file} holds other units or windows of {name} than {files[0]}")
        found.append(here.field[at])
    return FieldEvolution(np.stack(found), np.asarray(wanted), [file.stem for file in files])


def field_files(folder: Path) -> list[Path]:
    """Return a run's `epoch=NNN.npz` in order.

    Raises:
        FileNotFoundError: there is none.
    """
    files = sorted(folder.glob("epoch=*.npz"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise FileNotFoundError(f"{folder} holds no fields (epoch=NNN.npz); run with rf=standard")
    return files


def entry_names(path: Path) -> list[str]:
    """Return the entries of a file."""
    with np.load(path) as file:
        return [key.removesuffix("/field") for key in file.files if key.endswith("/field")]


def load_description(path: Path) -> dict[str, Any]:
    """Return the description written with the fields."""
    with np.load(path) as file:
        found: dict[str, Any] = json.loads(str(file["about"]))
        return found


def weights_fingerprint(network: nn.Module) -> str:
    """Return the SHA-256 of a network's parameters and buffers, names included.

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
