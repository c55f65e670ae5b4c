"""Unpacks an archive as a whole or not at all, and nothing outside its folder."""

import stat
import tarfile
import zipfile
from pathlib import Path


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into a folder.

    Raises:
        ValueError: it is no such archive, is damaged, or a member is a link or leads out of the
            folder; the message names archive and member. Nothing was then unpacked of the latter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for member in zipped.infolist():
                    link = stat.S_ISLNK(member.external_attr >> 16)
                    _check(archive, folder, member.orig_filename, link)
                zipped.extractall(folder)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tarred:
                for entry in tarred.getmembers():
                    special = not (entry.isfile() or entry.isdir())
                    _check(archive, folder, entry.name, special)
                tarred.extractall(folder, filter="data")
        else:
            raise ValueError(f"{archive} is neither a zip nor a tar archive")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive} is damaged: {error}") from error


def _check(archive: Path, folder: Path, name: str, special: bool) -> None:
    place = (folder / name.replace("\\", "/")).resolve()
    if special or not place.is_relative_to(folder.resolve()):
        raise ValueError(f"{archive}: its member {name!r} is a link or leads out of {folder}")
