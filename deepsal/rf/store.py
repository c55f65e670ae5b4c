"""Fields on disk: one file per checkpoint, each layer readable on its own."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepsal.rf.fields import Fields

MEMBERS = ("field", "units", "patches", "activation", "count")


def save(path: Path, fields: Mapping[str, Fields], about: Mapping[str, Any]) -> None:
    """Write fields under names such as `conv4/fixed`, with a JSON description, atomically.

    Args:
        path: the `.npz` file; its folder is made.
        fields: `{name: fields}`.
        about: what made them (method, epoch, data set, versions …), plain JSON values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{name}/{member}": getattr(found, member)
        for name, found in fields.items()
        for member in MEMBERS
    }
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(dict(about))), **arrays)
    os.replace(partial, path)


def load(path: Path, name: str) -> Fields:
    """Read one entry, such as `conv4/topk`, without reading the others.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such entry; the message lists those there are.
    """
    with np.load(path) as file:
        if f"{name}/field" not in file:
            raise ValueError(f"{path} has no fields {name!r}; it has {names(path)}")
        return Fields(**{member: file[f"{name}/{member}"] for member in MEMBERS})


def names(path: Path) -> list[str]:
    """Return the entries of a file."""
    with np.load(path) as file:
        return [key.removesuffix("/field") for key in file.files if key.endswith("/field")]


def about(path: Path) -> dict[str, Any]:
    """Return the description written with the fields."""
    with np.load(path) as file:
        found: dict[str, Any] = json.loads(str(file["about"]))
        return found
