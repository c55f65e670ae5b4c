"""Files of fields: one per checkpoint, each layer readable on its own.

Letters in shapes: T checkpoints, U units, h and w samples of a field, H and W its pixels.
"""

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

from deepsal.atomic import replace_file, write_text
from deepsal.rf.mapping.gradient_fields import ReceptiveFields
from deepsal.rf.mapping.noise_fields import NOISE_ARRAYS, StoredNoiseFields

MISSING_FILE = "missing.json"
"""Names the checkpoints whose fields could not be mapped."""
FIELD_MEMBERS = tuple(
    member.name for member in dataclasses.fields(ReceptiveFields) if member.name != "blocks"
)
"""Arrays of an entry; a file may hold others, which are ignored."""

StoredFields = ReceptiveFields | StoredNoiseFields


class FieldEvolution(NamedTuple):
    """Fields of some units of one layer at T checkpoints, in order.

    field: float32 (T, U, 3, h, w), a sample per pixel · units: (U,) channels · checkpoints: T file
    stems · reliability: (T, U), NaN for a silent unit or where it is unknown · samples: number of
    `sample_name` at the last checkpoint · sample_name: "pairs" of noise images, or "patches".
    """

    field: NDArray[np.float32]
    units: NDArray[np.int64]
    checkpoints: list[str]
    reliability: NDArray[np.float64]
    samples: int
    sample_name: str

    def select(self, count: int) -> "FieldEvolution":
        """Return the first units only."""
        field, units, reliability = self.field[:, :count], self.units[:count], self.reliability
        return self._replace(field=field, units=units, reliability=reliability[:, :count])


def save_fields(
    path: Path,
    fields: Mapping[str, StoredFields],
    description: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write fields under names such as `conv4/centred`, with a JSON description, atomically.

    The file is not compressed: deflating such numbers saves a tenth of the space and takes longer
    than computing them. A gradient per patch is float16 in parts of the patch's largest value.

    Args:
        path: the `.npz` file; its folder is created.
        fields: `{entry: fields}`.
        description: method, epoch, data set, versions …, as plain JSON values.
        arrays: further arrays, such as `conv4/disks`; `load_stage_arrays` reads them.
    """
    members = {
        f"{entry}/{member}": array
        for entry, value in fields.items()
        for member, array in _members(value).items()
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
        ValueError: no such entry, the message lists the entries of the file; or fields measured
            with noise.
    """
    fields = _load(path, entry)
    if not isinstance(fields, ReceptiveFields):
        raise ValueError(f"{entry} of {path} was measured with noise: use load_noise_fields")
    return fields


def load_noise_fields(path: Path, entry: str) -> StoredNoiseFields:
    """Read one entry that was measured with noise, such as `conv4/natural`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such entry, the message lists the entries of the file; or fields that are
            gradients.
    """
    fields = _load(path, entry)
    if not isinstance(fields, StoredNoiseFields):
        raise ValueError(f"{entry} of {path} was not measured with noise: use load_fields")
    return fields


def load_stage_arrays(path: Path, stage: str) -> dict[str, NDArray[Any]]:
    """Read a stage's further arrays: `conv4/disks` of the stage `conv4` is returned as `disks`."""
    start = f"{stage}/"
    with np.load(path) as file:
        keys = {key.removeprefix(start): key for key in file.files if key.startswith(start)}
        return {name: file[key] for name, key in keys.items() if "/" not in name}


def load_evolution(
    folder: Path,
    entry: str,
    units: Sequence[int] | None = None,
    files: Sequence[Path] | None = None,
) -> FieldEvolution:
    """Read one entry at every checkpoint of a run, as one array.

    Args:
        folder: holds `epoch=000.npz`, `epoch=002.npz` …
        entry: such as `conv4/centred` or `conv4/natural`.
        units: channels; None for all that were stored.
        files: of some checkpoints only; None: all in the folder.

    Raises:
        FileNotFoundError: no checkpoint's fields in the folder.
        ValueError: no such entry or unit, or files that hold different units or windows.
    """
    files = files or field_files(folder)
    first = _load(files[0], entry)
    stored = first.units.tolist()
    channels = list(stored if units is None else units)
    if unknown := [unit for unit in channels if unit not in stored]:
        raise ValueError(f"{files[0]} has no units {unknown} of {entry}; it has {stored}")
    rows = [stored.index(unit) for unit in channels]
    reliability: list[NDArray[np.float64]] = []
    field: list[NDArray[np.float32]] = []
    for file in files:
        fields = _load(file, entry)
        if fields.units.tolist() != stored or fields.field.shape != first.field.shape:
            raise ValueError(f"{file} holds other units or windows of {entry} than {files[0]}")
        field.append(field_at_pixels(fields, channels))
        reliability.append(fields.reliability[rows])
    stems = [file.stem for file in files]
    return FieldEvolution(
        np.stack(field),
        np.asarray(channels),
        stems,
        np.stack(reliability),
        *sample_count(fields),
    )


def field_at_pixels(fields: StoredFields, units: Sequence[int]) -> NDArray[np.float32]:
    """Return the fields of some units, which are stored, with a sample per pixel, (U, 3, H, W).

    Of fields on each patch, those on the first patch are returned, for `strongest` the strongest.
    """
    if isinstance(fields, StoredNoiseFields):
        return fields.select(units).at_pixels()
    stored = fields.units.tolist()
    field = fields.field[:, 0] if fields.field.ndim == 5 else fields.field
    return field[[stored.index(unit) for unit in units]]


def sample_count(fields: StoredFields) -> tuple[int, str]:
    """Return from how many samples fields were measured, and of what: "pairs" or "patches"."""
    if isinstance(fields, StoredNoiseFields):
        return fields.pairs, "pairs"
    return (1 if fields.field.ndim == 5 else fields.patches.shape[1]), "patches"


def field_files(folder: Path) -> list[Path]:
    """Return a run's files `epoch=NNN.npz` in the order of epochs.

    Raises:
        FileNotFoundError: the folder has no such file.
    """
    files = sorted(folder.glob("epoch=*.npz"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise FileNotFoundError(f"{folder} holds no fields (epoch=NNN.npz); run with rf=standard")
    return files


def mark_missing(folder: Path, checkpoint: str, reason: str) -> None:
    """Write into the folder's `missing.json` why a checkpoint has no fields.

    Args:
        folder: of fields; it is created.
        checkpoint: such as `epoch=002`.
        reason: one line.
    """
    missing = {**missing_checkpoints(folder), checkpoint: reason}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MISSING_FILE, json.dumps(missing, indent=1))


def missing_checkpoints(folder: Path) -> dict[str, str]:
    """Return the checkpoints without fields and the reasons; those mapped since are left out."""
    if not (folder / MISSING_FILE).is_file():
        return {}
    missing: dict[str, str] = json.loads((folder / MISSING_FILE).read_text())
    return {name: of for name, of in missing.items() if not (folder / f"{name}.npz").is_file()}


def entry_names(path: Path) -> list[str]:
    """Return the names of the fields in a file, such as `conv4/centred`."""
    with np.load(path) as file:
        return [key.removesuffix("/field") for key in file.files if key.endswith("/field")]


def load_description(path: Path) -> dict[str, Any]:
    """Return the description written with the fields."""
    with np.load(path) as file:
        description: dict[str, Any] = json.loads(str(file["about"]))
        return description


def watched_units(description: Mapping[str, Any], stage: str) -> list[int] | None:
    """Return a stage's watched units by a file's description; None: all that are stored."""
    units: list[int] | None = description.get("units", {}).get(stage)
    return units


def target_reliability(description: Mapping[str, Any]) -> float:
    """Return the reliability for which the needed samples are stated; earlier files have none."""
    return float(description.get("target", 0.9))


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


def _members(fields: StoredFields) -> dict[str, NDArray[Any]]:
    """Return the arrays of an entry in a file."""
    if isinstance(fields, ReceptiveFields):
        members = {member: getattr(fields, member) for member in FIELD_MEMBERS}
        if fields.field.ndim == 5:  # a gradient per patch: many, and none is averaged
            members |= _half_precision({"field": fields.field})
        return members
    numbers = {
        member.name: getattr(fields, member.name)
        for member in dataclasses.fields(fields)
        if member.name not in NOISE_ARRAYS
    }
    return {
        **_half_precision({"field": fields.field, "stderr": fields.stderr}),
        "units": fields.units,
        "reliability": fields.reliability,
        "sampling": np.array(json.dumps(numbers)),
    }


def _half_precision(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Return arrays (..., 3, h, w) as float16 in parts of the largest value, and this `scale`."""
    largest = np.max([np.abs(a).max((-3, -2, -1), keepdims=True) for a in arrays.values()], 0)
    scale = np.where(largest > 0, largest, 1).astype(np.float32)
    return {"scale": scale} | {name: (a / scale).astype(np.float16) for name, a in arrays.items()}


def _load(path: Path, entry: str) -> StoredFields:
    with np.load(path) as file:
        if f"{entry}/field" not in file:
            raise ValueError(f"{path} has no fields {entry!r}; it has {entry_names(path)}")
        if f"{entry}/sampling" not in file:
            stored = [member for member in FIELD_MEMBERS if f"{entry}/{member}" in file]
            members = {member: file[f"{entry}/{member}"] for member in stored}
            if f"{entry}/scale" in file:
                members["field"] = members["field"].astype(np.float32) * file[f"{entry}/scale"]
            unknown = np.full(len(members["units"]), np.nan)  # in files of earlier versions
            return ReceptiveFields(**{"reliability": unknown} | members)
        numbers, scale = json.loads(str(file[f"{entry}/sampling"])), file[f"{entry}/scale"]
        arrays = {member: file[f"{entry}/{member}"] for member in NOISE_ARRAYS}
        arrays |= {name: arrays[name].astype(np.float32) * scale for name in ("field", "stderr")}
        numbers |= {name: tuple(numbers[name]) for name in ("origin", "gain")}
        return StoredNoiseFields(**arrays, **numbers)
