"""Atomic writes: a reader sees the old file or the new one, never a part."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(file: Path) -> Iterator[Path]:
    """Yield a temporary path in the file's folder, and rename it onto the file at the end.

    An error in the block leaves the old file as it was and removes the temporary one. The temporary
    path is hidden and has no suffix that a pattern such as `*.png` would match, so a writer that
    takes its format from the suffix (Pillow, Matplotlib, `numpy.savez`) must be passed the format
    or an open file.

    Args:
        file: in a folder that exists.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
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
