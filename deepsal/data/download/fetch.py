"""Download of data sets from their official addresses: complete and verified, or not at all."""

import errno
import fcntl
import logging
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import requests
from pooch.core import retrieve
from pooch.hashes import file_hash
from pooch.utils import get_logger
from rich.progress import Progress

from deepsal.data.datasets.card import ReleaseArchive, ReleaseSource
from deepsal.data.download.resumable import ResumableDownloader
from deepsal.data.index import RELEASE_SOURCES

DEFAULT_DATA_FOLDER = Path("data")
"""The data folder of a command line without `data_dir`, which the first download creates."""

_logger = logging.getLogger(__name__)


def fetch_dataset(name: str, data_dir: str | Path, mirror: str | None = None) -> Path:
    """Download a data set into `data_dir/NAME`, in its release layout; SALICON into `salicon`.

    All files are verified before an archive is unpacked. They are collected in
    `data_dir/.NAME.partial`, which becomes `data_dir/NAME` at the end. After an interruption the
    next call resumes from this folder. One process of a machine downloads and the others wait. An
    archive of the release in `data_dir` is used instead of a download. If `data_dir/NAME` exists,
    its missing parts are added.

    Args:
        name: osie, eyecrowd, nus_scene, salicon2015, salicon2017, mit1003, mit300,
            coco_freeview, cat2000, toronto, figrim or pascal_s.
        data_dir: the data folder.
        mirror: an address that holds NAME/FILE in place of the official one; by default
            DEEPSAL_MIRROR.

    Returns:
        The folder of the data set.

    Raises:
        ValueError: an unknown name, or a file is not the release's.
        OSError: no network, an interrupted download or a full disk; the message names the files
            that remain for the next call.
    """
    if name not in RELEASE_SOURCES:
        raise ValueError(
            f"no address is known for {name!r}; the choices are {', '.join(RELEASE_SOURCES)}"
        )
    source, folder = RELEASE_SOURCES[name], Path(data_dir).expanduser()
    mirror = mirror or os.environ.get("DEEPSAL_MIRROR")
    base = f"{mirror}/{name}" if mirror else source.repository
    target = folder / _release_folders(name, source)[0].split("/")[0]
    partial = folder / f".{target.name}.partial"
    get_logger().setLevel("ERROR")
    created = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{target.name}.lock"):
            if source.archives:
                missing = [a for a in source.archives if not (target / a.contents).exists()]
                _fetch_archives(missing, target, partial, base)
            elif target.exists():
                _fetch_files(target, base, name)
            else:
                _fetch_files(partial, base, name)
                os.replace(partial, target)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"no room for {name} in {folder}: {error}; make room and fetch again, which resumes "
            f"from {partial}"
        ) from error
    finally:
        if not any(path.is_file() and path.stat().st_size for path in partial.rglob("*")):
            shutil.rmtree(partial, ignore_errors=True)
        if created and not any(folder.iterdir()):
            folder.rmdir()
    return target


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock file alone, and remove it at the end.

    A process that waited for a lock file that is now removed waits for the new one.
    """
    while True:
        with file.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if file.exists() and os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                try:
                    yield
                finally:
                    file.unlink(missing_ok=True)
                return


def fetch_if_missing(name: str, data_dir: str | Path) -> Path:
    """Download a data set that is not in `data_dir`, and return `data_dir`.

    DEEPSAL_OFFLINE=1 forbids the download.

    Raises:
        FileNotFoundError: `data_dir` does not exist, apart from `DEFAULT_DATA_FOLDER`; or the data
            set is not in it and cannot be downloaded. The message then lists the files to download
            by hand and the folder for them.
    """
    folder, source = Path(data_dir).expanduser(), RELEASE_SOURCES[name]
    paths = _release_folders(name, source)
    if any((folder / path).exists() for path in paths):
        return folder
    if not folder.is_dir() and folder != DEFAULT_DATA_FOLDER:
        raise FileNotFoundError(
            f"data_dir={folder} is no folder; set data_dir=FOLDER (or DEEPSAL_DATA) to the folder "
            f"that holds {paths[0].split('/')[0]}/, or make this one: "
            f"python -m deepsal.data fetch {name} --to {folder}"
        )
    cause, reason = None, "DEEPSAL_OFFLINE forbids fetching it"
    if os.environ.get("DEEPSAL_OFFLINE", "0") == "0":
        _logger.warning(f"{name} is not in {folder}: fetching it")
        try:
            fetch_dataset(name, folder)
            return folder
        except OSError as error:
            cause, reason = error, f"it cannot be fetched: {error}"
    if source.archives:
        lines = [f"\n  {archive.file_name}  {archive.url}" for archive in source.archives]
        by_hand = f"or put these into {folder}, as they are, and fetch there:{''.join(lines)}"
    else:
        owner, repository, commit = source.repository.split("/")[-3:]
        address = f"https://github.com/{owner}/{repository}/tree/{commit}"
        by_hand = f"or put the files of {address} into {folder / name}"
    raise FileNotFoundError(
        f"no {name} here: it is not in {folder}, and {reason}\n"
        f"on a machine with a network: python -m deepsal.data fetch {name} --to {folder}\n"
        f"{by_hand}\n"
        f"or set data_dir=FOLDER (or DEEPSAL_DATA) to the folder that holds "
        f"{paths[0].split('/')[0]}/; data=popout needs no files"
    ) from cause


def file_checksums(name: str) -> dict[str, str]:
    """Return the sha256 of every file of a data set that comes file by file.

    >>> [len(file_checksums(name)) for name in ("osie", "nus_scene", "eyecrowd")]
    [701, 501, 502]
    """
    lines = (
        (files("deepsal.data") / "registry" / f"{name}.txt")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    return dict(line.rsplit(" ", 1) for line in lines)


def _release_folders(name: str, source: ReleaseSource) -> tuple[str, ...]:
    return source.folders or (name,)


def _fetch_files(folder: Path, base: str, name: str) -> None:
    """Download every file of the registry that is missing or has another checksum."""
    checksums = file_checksums(name)
    with ThreadPoolExecutor(8) as executor, Progress(transient=True) as progress:
        bar = progress.add_task(name, total=len(checksums))
        jobs = []
        for path, sha256 in checksums.items():
            file = folder / path
            # Created here, one by one: pooch's threads fail if two of them create one folder.
            file.parent.mkdir(parents=True, exist_ok=True)
            jobs.append(executor.submit(_fetch_file, f"{base}/{path}", file, f"sha256:{sha256}"))
        try:
            for job in jobs:
                job.result()
                progress.advance(bar)
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def _fetch_file(url: str, file: Path, checksum: str, progress: Progress | None = None) -> None:
    """Download a file unless it exists with this checksum, `ALGORITHM:DIGEST`."""
    downloader = ResumableDownloader(file.parent, progress)
    try:
        retrieve(url, checksum, file.name, file.parent, downloader=downloader)
    except requests.HTTPError as error:
        raise OSError(f"{url}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{url} is not the release's file: {error}") from error


def _fetch_archives(
    archives: Sequence[ReleaseArchive], target: Path, partial: Path, mirror: str
) -> None:
    """Download all archives, then unpack them, then move their contents into the target."""
    paths = [_fetch_archive(archive, target.parent, partial, mirror) for archive in archives]
    unpacked = partial / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        for archive, path in zip(archives, paths, strict=True):
            if archive.contents == archive.file_name:
                unpacked.mkdir(exist_ok=True)
                shutil.copyfile(path, unpacked / archive.file_name)
            else:
                unpack_archive(path, unpacked / archive.unpack_folder)
        if target.exists():
            for archive in archives:
                os.replace(unpacked / archive.contents, target / archive.contents)
        else:
            os.replace(unpacked, target)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)


def _fetch_archive(archive: ReleaseArchive, folder: Path, partial: Path, mirror: str) -> Path:
    """Return a verified archive: the one in `folder`, or else a download."""
    file = folder / archive.file_name
    if file.is_file():
        if file_hash(file, alg="md5") != archive.md5:
            raise ValueError(
                f"{file} is not the release's archive (md5 {archive.md5}); remove it, then fetch "
                "again"
            )
        return file
    url = f"{mirror}/{file.name}" if mirror else archive.url
    with Progress() as progress:
        _fetch_file(url, partial / file.name, f"md5:{archive.md5}", progress)
    return partial / file.name


def unpack_archive(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into a folder.

    A tar archive passes Python's data filter. For a zip file, `shutil.unpack_archive` has no filter
    and silently skips the members that lie outside the folder. So all members are checked here
    before the first one is unpacked.

    Raises:
        ValueError: it is no such archive, is damaged, or a member is a link or lies outside the
            folder; the message names archive and member.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                for member in content.infolist():
                    name = member.orig_filename
                    path = (folder / name.replace("\\", "/")).resolve()
                    is_link = stat.S_ISLNK(member.external_attr >> 16)
                    if is_link or not path.is_relative_to(folder.resolve()):
                        raise ValueError(f"{archive}: {name!r} is a link or lies outside {folder}")
                content.extractall(folder)
        elif tarfile.is_tarfile(archive):
            shutil.unpack_archive(archive, folder, "tar", filter="data")
        else:
            raise ValueError(f"{archive} is neither a zip nor a tar archive")
    except tarfile.FilterError as error:
        raise ValueError(f"{archive}: {error}") from error
    except (zipfile.BadZipFile, tarfile.TarError, shutil.ReadError, EOFError) as error:
        raise ValueError(f"{archive} is damaged: {error}") from error
