"""Atomic writes: a reader sees the old file or the new one, never a part."""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replace_file(file: Path) -> Iterator[Path]:
    """Yield a temporary path beside a file or folder, and rename it onto that at the end.

    An error in the block leaves the old file as it was and removes the temporary one. The temporary
    path is hidden and has no suffix that a pattern such as `*.png` would match, so a writer that
    takes its format from the suffix (Pillow, Matplotlib, `numpy.savez`) must be passed the format
    or an open file.

    Args:
        file: in a folder that exists; a folder must not exist yet.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> Path:
    """Write a text file as UTF-8, atomically.

    Args:
        file: in a folder that exists.
        text: the new content.

    Returns:
        The file.
    """
    with replace_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return file


def write_json(file: Path, value: Any) -> Path:
    """Write a value as JSON, atomically; numbers that are not finite become null.

    Args:
        file: in a folder that exists.
        value: plain values: dicts, lists, tuples, texts, numbers, None.

    Returns:
        The file.
    """
    text = json.dumps(finite_or_none(value), indent=1, allow_nan=False, ensure_ascii=False)
    return write_text(file, text + "\n")


def finite_or_none(value: Any) -> Any:
    """Return plain values in which numbers that are not finite are None."""
    if isinstance(value, dict):
        return {key: finite_or_none(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
