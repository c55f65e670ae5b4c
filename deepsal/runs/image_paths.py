"""Image files that a command line names, and the names of their outputs."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

PICTURE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".avif"}
PICTURE_SUFFIXES |= {".heic", ".heif", ".jfif", ".mpo", ".jp2", ".ppm", ".pgm"}
"""File names that a folder is searched for; a file that is named itself may have any name."""

COMPARISON = "comparison"
"""Name of the outputs that compare two images."""


def list_pictures(arguments: Sequence[str], excluded: Path | None = None) -> list[Path]:
    """Return the image files that arguments name, each once.

    Args:
        arguments: files, folders (searched with all their subfolders) and glob patterns. A file
            that does not exist is returned too, so that its error names it.
        excluded: a folder whose files a search leaves out, because it holds outputs.

    Raises:
        ValueError: a folder or a pattern has no image.
    """
    pictures: dict[Path, Path] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            matches = _pictures_in(path)
        elif not path.exists() and glob.has_magic(argument):
            entries = [Path(match) for match in glob.glob(argument, recursive=True)]
            parts = [_pictures_in(entry) if entry.is_dir() else [entry] for entry in entries]
            matches = [match for part in parts for match in part]
        else:
            pictures.setdefault(path.resolve(), path)
            continue
        hidden = excluded.resolve() if excluded else None
        matches = [match for match in matches if hidden not in match.resolve().parents]
        if not matches:
            raise ValueError(f"{argument} holds no image ({' '.join(sorted(PICTURE_SUFFIXES))})")
        for match in sorted(matches):
            pictures.setdefault(match.resolve(), match)
    return list(pictures.values())


def output_names(pictures: Sequence[Path]) -> dict[Path, str]:
    """Return the name of each image's outputs, no two of which differ only in case.

    It is the image's path below the folder that all images share, without the suffix; where
    another image has that name already, with the suffix, and then with a number.

    >>> output_names([Path("p/a/x.jpg"), Path("p/b/x.jpg"), Path("p/b/x.png")])[Path("p/b/x.png")]
    'b/x.png'
    """
    absolute = [Path(os.path.abspath(picture)) for picture in pictures]
    root = os.path.commonpath([picture.parent for picture in absolute]) if absolute else ""
    names: dict[Path, str] = {}
    used = {COMPARISON}
    for picture, path in zip(pictures, absolute, strict=True):
        relative = path.relative_to(root)
        bases = [relative.with_suffix("").as_posix(), relative.as_posix()]
        numbered = [f"{bases[1]}-{number}" for number in range(2, len(absolute) + 2)]
        name = next(each for each in [*bases, *numbered] if each.casefold() not in used)
        used.add(name.casefold())
        names[picture] = name
    return names


def compared_pictures(pair: tuple[str, str], pictures: Sequence[Path]) -> tuple[Path, Path]:
    """Return two files as they stand in a list of pictures.

    Raises:
        ValueError: one is a folder or a pattern, or both are one file.
    """
    files = {picture.resolve(): picture for picture in pictures}
    first, second = (files.get(Path(each).resolve()) for each in pair)
    if first is None or second is None or first == second:
        raise ValueError(f"--compare {pair[0]} {pair[1]}: set two different image files")
    return first, second


def _pictures_in(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".")
    ]
