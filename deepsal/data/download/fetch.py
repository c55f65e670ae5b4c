"""Data sets from their official addresses: whole and verified, or not at all."""

import errno
import logging
import os
import shutil
import stat
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import requests
from filelock import FileLock
from pooch.core import Pooch, create
from pooch.hashes import file_hash
from pooch.utils import get_logger
from rich.progress import Progress

from deepsal.data.download.addresses import (
    DATASET_FOLDERS,
    GITHUB_RAW,
    RELEASE_ARCHIVES,
    REPOSITORY_ADDRESSES,
    ReleaseArchive,
    file_checksums,
)
from deepsal.data.download.resumable import ResumableDownloader

_logger = logging.getLogger(__name__)


def fetch_dataset(name: str, to: str | Path, mirror: str | None = None) -> Path:
    """Bring a data set into `to/NAME`, in its release layout; SALICON into `to/salicon`.

    Everything is checked before it is unpacked, and collected in `to/.NAME.partial`, which becomes
    `to/NAME` at the end; interrupted, the next call goes on from there. One process of a machine
    fetches, the others wait. An archive of the release that lies in `to` is used as it is. What is
    missing from a `to/NAME` that is there is added.

    Args:
        name: osie, eyecrowd, nus_scene, salicon2015, salicon2017, mit1003, mit300, cat2000,
            toronto, figrim or pascal_s.
        to: the data folder.
        mirror: an address that holds NAME/FILE in place of the official one; DEEPSAL_MIRROR.

    Returns:
        The set's folder.

    Raises:
        ValueError: an unknown name, or what arrived is not the release.
        OSError: no network, an interrupted download, a full disk; the message says what stays.
    """
    if name not in {*REPOSITORY_ADDRESSES, *RELEASE_ARCHIVES}:
        known = ", ".join((*REPOSITORY_ADDRESSES, *RELEASE_ARCHIVES))
        raise ValueError(f"no address is known for {name!r}; those known are {known}")
    folder = Path(to).expanduser()
    mirror = mirror or os.environ.get("DEEPSAL_MIRROR")
    target = folder / DATASET_FOLDERS.get(name, (name,))[0].split("/")[0]
    partly = folder / f".{target.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{target.name}.lock"):
            if name in REPOSITORY_ADDRESSES:
                place = target if target.exists() else partly
                _fetch_files(
                    place, f"{mirror}/{name}" if mirror else REPOSITORY_ADDRESSES[name], name
                )
                if place == partly:
                    os.replace(partly, target)
            else:
                lacking = [a for a in RELEASE_ARCHIVES[name] if not (target / a.gives).exists()]
                _fetch_archives(lacking, target, partly, f"{mirror}/{name}" if mirror else None)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"no room for {name} in {folder}: {error}; make room and fetch again, "
            f"which goes on from {partly}"
        ) from error
    finally:
        if not any(path.is_file() and path.stat().st_size for path in partly.rglob("*")):
            shutil.rmtree(partly, ignore_errors=True)
    return target


def fetch_if_missing(name: str, data_dir: str | Path) -> Path:
    """Fetch a set that is not in `data_dir` and return `data_dir`; DEEPSAL_OFFLINE=1 forbids it.

    Raises:
        FileNotFoundError: it is not there and did not come; the message says what to download by
            hand and where to put it.
    """
    folder = Path(data_dir).expanduser()
    places = DATASET_FOLDERS.get(name, (name,))
    if any((folder / place).exists() for place in places):
        return folder
    cause, why = None, "DEEPSAL_OFFLINE forbids fetching it"
    if os.environ.get("DEEPSAL_OFFLINE", "0") == "0":
        _logger.warning(f"{name} is not in {folder}: fetching it")
        try:
            fetch_dataset(name, folder)
            return folder
        except OSError as error:
            cause, why = error, f"it cannot be fetched: {error}"
    if name in REPOSITORY_ADDRESSES:
        owner, repository, commit = (
            REPOSITORY_ADDRESSES[name].removeprefix(f"{GITHUB_RAW}/").split("/")[:3]
        )
        address = f"https://github.com/{owner}/{repository}/tree/{commit}"
        hand = f"or put what is at {address} into {folder / name}"
    else:
        wanted = [f"\n  {archive.file}  {archive.url}" for archive in RELEASE_ARCHIVES[name]]
        hand = f"or put these into {folder}, as they are, and fetch there:{''.join(wanted)}"
    raise FileNotFoundError(
        f"no {name} here: it is not in {folder}, and {why}\n"
        f"where there is a network: python -m deepsal.data fetch {name} --to {folder}\n{hand}\n"
        f"or set data_dir=FOLDER (or DEEPSAL_DATA) to the folder that holds "
        f"{places[0].split('/')[0]}/; data=popout needs no files"
    ) from cause


def _fetch_files(place: Path, base: str, name: str) -> None:
    """Bring every file of the registry that is not there with its checksum."""
    get_logger().setLevel("ERROR")
    wanted = file_checksums(name)
    store = create(place, f"{base}/", registry=wanted)
    with ThreadPoolExecutor(8) as several, Progress(transient=True) as progress:
        bar = progress.add_task(name, total=len(wanted))
        jobs = []
        for file in wanted:
            # Made here, one by one: pooch's threads fail where two of them make the same folder.
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            download = ResumableDownloader((place / file).parent)
            jobs.append(several.submit(partial(_fetch_verified, store, file, download)))
        try:
            for job in jobs:
                job.result()
                progress.advance(bar)
        except BaseException:
            several.shutdown(cancel_futures=True)
            raise


def _fetch_verified(store: Pooch, file: str, download: ResumableDownloader) -> None:
    url = store.get_url(file)
    try:
        store.fetch(file, downloader=download)
    except requests.HTTPError as error:
        raise OSError(f"{url}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{url} is not the release's file: {error}") from error


def _fetch_archives(
    archives: list[ReleaseArchive], target: Path, partly: Path, mirror: str | None
) -> None:
    """Bring all archives, then unpack them, then put what they give in its place."""
    get_logger().setLevel("ERROR")
    files = [_fetch_archive(archive, target.parent, partly, mirror) for archive in archives]
    unpacked = partly / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        for archive, file in zip(archives, files, strict=True):
            if archive.gives == archive.file:
                unpacked.mkdir(exist_ok=True)
                shutil.copyfile(file, unpacked / archive.file)
            else:
                unpack_archive(file, unpacked / archive.into)
        if target.exists():
            for archive in archives:
                os.replace(unpacked / archive.gives, target / archive.gives)
        else:
            os.replace(unpacked, target)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    shutil.rmtree(partly, ignore_errors=True)


def _fetch_archive(archive: ReleaseArchive, folder: Path, partly: Path, mirror: str | None) -> Path:
    """Return a verified archive: the one in `folder`, or else a download."""
    here = folder / archive.file
    if here.is_file():
        if file_hash(here, alg="md5") != archive.md5:
            raise ValueError(
                f"{here} is not the release's archive (md5 {archive.md5} is); remove it to "
                "have it fetched"
            )
        return here
    url = f"{mirror}/{archive.file}" if mirror else archive.url
    known = {archive.file: f"md5:{archive.md5}"}
    with Progress() as progress:
        store = create(partly, "", registry=known, urls={archive.file: url})
        _fetch_verified(store, archive.file, ResumableDownloader(partly, progress))
    return partly / archive.file


def unpack_archive(archive: Path, folder: Path) -> None:
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
                    _check_member(archive, folder, member.orig_filename, link)
                zipped.extractall(folder)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tarred:
                for entry in tarred.getmembers():
                    special = not (entry.isfile() or entry.isdir())
                    _check_member(archive, folder, entry.name, special)
                tarred.extractall(folder, filter="data")
        else:
            raise ValueError(f"{archive} is neither a zip nor a tar archive")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive} is damaged: {error}") from error


def _check_member(archive: Path, folder: Path, name: str, special: bool) -> None:
    place = (folder / name.replace("\\", "/")).resolve()
    if special or not place.is_relative_to(folder.resolve()):
        raise ValueError(f"{archive}: its member {name!r} is a link or leads out of {folder}")
