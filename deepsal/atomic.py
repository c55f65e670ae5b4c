"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write_text(file: Path, text: str) -> Path:
    """Write a text file as UTF-8 so that a reader sees the old text or the new one, never a part.

    Args:
        file: in a folder that exists.
        text: the new content.

    Returns:
        The file.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    return file
