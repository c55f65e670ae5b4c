"""Data sets from their official addresses: whole and verified, or not at all."""

import errno
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import requests
from filelock import FileLock
from pooch.core import Pooch, create
from pooch.hashes import file_hash
from pooch.utils import get_logger
from rich.progress import Progress

from deepsal.data.download import Resumed
from deepsal.data.releases import ARCHIVES, REPOSITORIES, Archive, registry
from deepsal.data.unpack import unpack

log = logging.getLogger(__name__)


def fetch(name: str, to: str | Path, mirror: str | None = None) -> Path:
    """Bring a data set into `to/NAME`, in its release layout.

    Everything is checked before it is unpacked, and collected in `to/.NAME.partial`, which becomes
    `to/NAME` at the end; interrupted, the next call goes on from there. One process of a machine
    fetches, the others wait. An archive of the release that lies in `to` is used as it is. Files
    missing from a `to/NAME` that comes file by file are added.

    Args:
        name: osie, eyecrowd, nus_scene, salicon2015, salicon2017, mit1003, mit300, cat2000,
            toronto, figrim or pascal_s.
        to: the data folder.
        mirror: an address that holds NAME/FILE in place of the official one; DEEPSAL_MIRROR.

    Returns:
        The folder `to/NAME`.

    Raises:
        ValueError: an unknown name, or what arrived is not the release.
        OSError: no network, an interrupted download, a full disk; the message says what stays.
    """
    if name not in {*REPOSITORIES, *ARCHIVES}:
        known = ", ".join((*REPOSITORIES, *ARCHIVES))
        raise ValueError(f"no address is known for {name!r}; those known are {known}")
    folder = Path(to).expanduser()
    mirror = mirror or os.environ.get("DEEPSAL_MIRROR")
    target, partly = folder / name, folder / f".{name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):
            if name in REPOSITORIES:
                place = target if target.exists() else partly
                _files(place, f"{mirror}/{name}" if mirror else REPOSITORIES[name], name)
                if place == partly:
                    os.replace(partly, target)
            elif not target.exists():
                _archives(ARCHIVES[name], folder, partly, f"{mirror}/{name}" if mirror else None)
                os.replace(partly / "unpacked", target)
                shutil.rmtree(partly)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"no room for {name} in {folder}: {error}; make room and fetch again, "
            f"which goes on from {partly}"
        ) from error
    return target


def fetched(name: str, data_dir: str | Path) -> Path:
    """Fetch a set that is not in `data_dir`, if a network is there, and return `data_dir`.

    Without one it says how to get the set and leaves the complaint to the loader; so does
    DEEPSAL_OFFLINE=1.
    """
    folder = Path(data_dir).expanduser()
    if (folder / name).exists():
        return folder
    command = f"python -m deepsal.data fetch {name} --to {folder}"
    if os.environ.get("DEEPSAL_OFFLINE", "0") != "0":
        log.warning(f"{name} is not in {folder}; to fetch it: {command}")
        return folder
    log.warning(f"{name} is not in {folder}: fetching it")
    try:
        fetch(name, folder)
    except OSError as error:
        log.warning(f"{error}\nwhere there is a network: {command}")
    return folder


def _files(place: Path, base: str, name: str) -> None:
    """Bring every file of the registry that is not there with its checksum."""
    get_logger().setLevel("ERROR")
    wanted = registry(name)
    store = create(place, f"{base}/", registry=wanted)
    with ThreadPoolExecutor(8) as several, Progress(transient=True) as progress:
        bar = progress.add_task(name, total=len(wanted))
        jobs = []
        for file in wanted:
            download = Resumed((place / file).parent)
            jobs.append(several.submit(partial(_verified, store, file, download)))
        try:
            for job in jobs:
                job.result()
                progress.advance(bar)
        except BaseException:
            several.shutdown(cancel_futures=True)
            raise


def _verified(store: Pooch, file: str, download: Resumed) -> None:
    url = store.get_url(file)
    try:
        store.fetch(file, downloader=download)
    except requests.HTTPError as error:
        raise OSError(f"{url}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{url} is not the release's file: {error}") from error


def _archives(archives: list[Archive], folder: Path, partly: Path, mirror: str | None) -> None:
    get_logger().setLevel("ERROR")
    found = []
    for archive in archives:
        here, known = folder / archive.file, f"md5:{archive.md5}"
        if here.is_file():
            if file_hash(here, alg="md5") != archive.md5:
                raise ValueError(
                    f"{here} is not the release's archive (md5 {archive.md5} is); remove it to "
                    "have it fetched"
                )
            found.append(here)
            continue
        url = f"{mirror}/{archive.file}" if mirror else archive.url
        with Progress() as progress:
            store = create(partly, "", registry={archive.file: known}, urls={archive.file: url})
            _verified(store, archive.file, Resumed(partly, progress))
        found.append(partly / archive.file)
    shutil.rmtree(partly / "unpacked", ignore_errors=True)
    for archive, file in zip(archives, found, strict=True):
        unpack(file, partly / "unpacked" / archive.into)
