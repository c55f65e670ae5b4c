import errno
import hashlib
import io
import multiprocessing
import os
import re
import tarfile
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from deepsal.data import fetch_dataset, fetch_if_missing
from deepsal.data.datasets.card import ReleaseArchive, ReleaseSource
from deepsal.data.download import resumable
from deepsal.data.download.fetch import file_checksums, unpack_archive
from deepsal.data.index import RELEASE_SOURCES
from tests.data.conftest import Server, zipped

BYTES = bytes(range(256)) * 2000


@pytest.fixture
def server(serving: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A release of two files, file by file, and one of an archive."""
    files = {"data/a.jpg": b"a" * 5000, "data/eye/f.mat": BYTES}
    for name, content in files.items():
        serving.files[f"/toy/{name}"] = content
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(
        import_module("deepsal.data.download.fetch"), "file_checksums", lambda _: sums
    )
    monkeypatch.setitem(RELEASE_SOURCES, "toy", ReleaseSource(repository=f"{serving.url}/toy"))
    content = zipped({"ALL/1.txt": b"one", "ALL/2.bin": os.urandom(900_000)})
    serving.files["/all.zip"] = content
    md5 = hashlib.md5(content).hexdigest()
    archive = ReleaseArchive(f"{serving.url}/all.zip", md5, "ALL")
    monkeypatch.setitem(RELEASE_SOURCES, "big", ReleaseSource((archive,)))
    return serving


def tree(folder: Path) -> dict[str, int]:
    return {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_a_set_comes_file_by_file_and_is_then_left_alone(server: Server, tmp_path: Path) -> None:
    assert fetch_dataset("toy", tmp_path) == tmp_path / "toy"
    assert tree(tmp_path) == {"toy/data/a.jpg": 5000, "toy/data/eye/f.mat": len(BYTES)}
    fetch_dataset("toy", tmp_path)
    assert len(server.asked) == 2


def test_a_file_that_went_missing_or_wrong_is_brought_again(server: Server, tmp_path: Path) -> None:
    fetch_dataset("toy", tmp_path)
    (tmp_path / "toy/data/a.jpg").unlink()
    (tmp_path / "toy/data/eye/f.mat").write_bytes(b"changed")
    fetch_dataset("toy", tmp_path)
    assert (tmp_path / "toy/data/eye/f.mat").read_bytes() == BYTES
    assert len(tree(tmp_path)) == 2


def test_no_two_downloads_make_the_same_folder(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beaten(name: str, *_: object, **__: object) -> None:
        raise FileExistsError(name)

    monkeypatch.setattr("pooch.core.os.makedirs", beaten)
    fetch_dataset("toy", tmp_path)
    assert len(tree(tmp_path)) == 2


def test_an_archive_is_unpacked_and_the_download_removed(server: Server, tmp_path: Path) -> None:
    fetch_dataset("big", tmp_path)
    assert tree(tmp_path) == {"big/ALL/1.txt": 3, "big/ALL/2.bin": 900_000}
    assert not (tmp_path / ".big.partial").exists()


def test_a_broken_connection_is_taken_up_by_itself(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    fetch_dataset("big", tmp_path)
    assert [r for _, r in server.asked] == [None, "bytes=98304-", "bytes=196608-"]
    assert len(tree(tmp_path)) == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_fetch_goes_on_where_it_stopped(
    ranges: bool, server: Server, tmp_path: Path
) -> None:
    server.breaks, server.ranges = resumable.DOWNLOAD_ATTEMPTS, ranges
    with pytest.raises(OSError, match=r"all\.zip broke off; its first \d+ bytes are .*to resume"):
        fetch_dataset("big", tmp_path)
    assert not (tmp_path / "big").exists()
    (part,) = (tmp_path / ".big.partial").glob("*.part")
    size = part.stat().st_size
    assert size == (3 * 98304 if ranges else 98304)
    fetch_dataset("big", tmp_path)
    assert server.asked[-1] == ("/all.zip", f"bytes={size}-")
    assert len(tree(tmp_path)) == 2


def test_a_part_that_was_whole_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".big.partial").mkdir()
    (tmp_path / ".big.partial" / "all.zip.part").write_bytes(server.files["/all.zip"])
    fetch_dataset("big", tmp_path)
    assert len(tree(tmp_path)) == 2


@pytest.mark.parametrize("name", ["toy", "big"])
@pytest.mark.parametrize("change", [b"", b"longer", b"\x01"])
def test_another_size_or_content_is_refused_and_nothing_of_it_stays(
    name: str, change: bytes, server: Server, tmp_path: Path
) -> None:
    for path, content in server.files.items():
        server.files[path] = content[:-1] + change
    with pytest.raises(ValueError, match=rf"{server.url}/.* is not the release's file: .*hash"):
        fetch_dataset(name, tmp_path)
    assert tree(tmp_path) == {}
    assert not (tmp_path / name).exists()


def test_an_archive_at_hand_needs_no_network(server: Server, tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(server.files["/all.zip"])
    fetch_dataset("big", tmp_path)
    assert not server.asked
    assert tree(tmp_path)["big/ALL/1.txt"] == 3


def test_a_wrong_archive_at_hand_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"all\.zip is not the release's archive"):
        fetch_dataset("big", tmp_path)


def test_an_archive_that_leads_out_of_its_folder_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped({"ok.txt": b"ok", "../../evil.txt": b"evil"})
    archive = ReleaseArchive(f"{server.url}/bad.zip", hashlib.md5(content).hexdigest(), "ok")
    server.files["/bad.zip"] = content
    monkeypatch.setitem(RELEASE_SOURCES, "bad", ReleaseSource((archive,)))
    with pytest.raises(ValueError, match=r"bad\.zip: .*evil\.txt.* lies outside"):
        fetch_dataset("bad", tmp_path)
    assert not list(tmp_path.rglob("*.txt"))


def test_a_second_process_waits_and_finds_the_set(server: Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=fetch_dataset, args=(n, tmp_path)) for n in ("toy", "big") * 3
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert sorted(path for path, _ in server.asked) == sorted(server.files)
    assert len(tree(tmp_path)) == 4


@pytest.mark.parametrize("name", ["toy", "big"])
def test_a_full_disk_is_said_and_leaves_no_data_set(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match=rf"no room for {name} in .*\.{name}\.partial"):
            fetch_dataset(name, tmp_path)
    assert not (tmp_path / name).exists()
    fetch_dataset(name, tmp_path)
    assert (tmp_path / name).is_dir()


def test_a_mirror_stands_in_for_the_address(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m/big/all.zip"] = server.files.pop("/all.zip")
    fetch_dataset("big", tmp_path / "a", mirror=f"{server.url}/m")
    monkeypatch.setenv("DEEPSAL_MIRROR", f"{server.url}/m")
    fetch_dataset("big", tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_missing_file_and_an_unknown_name_are_told(server: Server, tmp_path: Path) -> None:
    del server.files["/all.zip"]
    with pytest.raises(OSError, match=r"/all\.zip: 404"):
        fetch_dataset("big", tmp_path)
    with pytest.raises(ValueError, match=r"for 'salt'; the choices are osie, .*mit1003"):
        fetch_dataset("salt", tmp_path)


def test_what_is_missing_of_a_set_is_added_and_the_rest_left_alone(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped({"MORE/3.txt": b"three"})
    more = ReleaseArchive(f"{server.url}/more.zip", hashlib.md5(content).hexdigest(), "MORE")
    table = ReleaseArchive(f"{server.url}/t.mat", hashlib.md5(BYTES).hexdigest(), "t.mat")
    server.files |= {"/more.zip": content, "/t.mat": BYTES}
    fetch_dataset("big", tmp_path)
    (tmp_path / "big/ALL/1.txt").write_text("mine")
    archives = (*RELEASE_SOURCES["big"].archives, more, table)
    monkeypatch.setitem(RELEASE_SOURCES, "big", ReleaseSource(archives))
    fetch_dataset("big", tmp_path)
    expected = {"ALL/1.txt": 4, "ALL/2.bin": 900_000, "MORE/3.txt": 5, "t.mat": len(BYTES)}
    assert tree(tmp_path / "big") == expected
    assert [path for path, _ in server.asked] == ["/all.zip", "/more.zip", "/t.mat"]


def test_a_missing_set_is_fetched_by_itself(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSAL_OFFLINE", "0")
    for name, files in (("toy", 2), ("big", 2)):
        assert fetch_if_missing(name, tmp_path) == tmp_path
        asked = len(server.asked)
        assert fetch_if_missing(name, tmp_path) == tmp_path
        assert len(server.asked) == asked, "what is there is not asked for again"
        assert len(tree(tmp_path / name)) == files
    assert len({*server.asked}) == 3


@pytest.mark.parametrize("offline", ["0", "1"])
@pytest.mark.parametrize(
    ("name", "hand"),
    [
        (
            "osie",
            r"the files of https://github\.com/NUS-VIP/[\w-]+/tree/[0-9a-f]{40} into \S+/osie",
        ),
        ("mit1003", r"ALLSTIMULI\.zip  http://127\.0\.0\.1:1/\S+\n  DATA\.zip  http"),
    ],
)
def test_a_set_that_does_not_come_is_one_error_that_says_what_to_do_by_hand(
    offline: str, name: str, hand: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSAL_OFFLINE", offline)
    archives = RELEASE_SOURCES["mit1003"].archives
    dead = tuple(a._replace(url=f"http://127.0.0.1:1/{a.file_name}") for a in archives)
    monkeypatch.setitem(RELEASE_SOURCES, "mit1003", ReleaseSource(dead))
    monkeypatch.setenv("DEEPSAL_MIRROR", "http://127.0.0.1:1")
    why = "forbids fetching" if offline == "1" else "cannot be fetched: http://127.0.0.1:1/"
    command = rf"(?s)no {name} here: .*{why}.*data fetch {name} --to {tmp_path}"
    with pytest.raises(FileNotFoundError, match=rf"{command}.*{hand}.* folder that holds {name}/"):
        fetch_if_missing(name, tmp_path)
    assert not [*tmp_path.rglob("*")]


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_data_folder_that_does_not_exist_is_refused_and_not_made(
    offline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSAL_OFFLINE", offline)
    monkeypatch.setenv("DEEPSAL_MIRROR", "http://127.0.0.1:1")
    nowhere = tmp_path / "no" / "where"
    with pytest.raises(FileNotFoundError, match=rf"data_dir={nowhere} is no folder; set data_dir"):
        fetch_if_missing("osie", nowhere)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no osie here: it is not in data, and"):
        fetch_if_missing("osie", "data")
    with pytest.raises(OSError, match=r"cannot be reached; is this machine offline\?"):
        fetch_dataset("osie", tmp_path / "new")
    assert not [*tmp_path.iterdir()]


def test_a_salicon_that_is_there_under_any_of_its_names_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "salicon" / "fixations2015").mkdir(parents=True)
    assert fetch_if_missing("salicon2015", tmp_path) == tmp_path
    with pytest.raises(FileNotFoundError, match="no salicon2017 here"):
        fetch_if_missing("salicon2017", tmp_path)
    (tmp_path / "salicon" / "fixations").mkdir()
    assert fetch_if_missing("salicon2017", tmp_path) == tmp_path


def tar_file(file: Path, *names: str, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, 0, "/etc/passwd"
            if kind == tarfile.REGTYPE:
                entry.size = 2
            archive.addfile(entry, io.BytesIO(b"ok"))
    return file


def zip_file(file: Path, *names: str, mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"ok")
    return file


@pytest.mark.parametrize(("write", "file"), [(tar_file, "a.tar.gz"), (zip_file, "a.zip")])
def test_an_archive_is_unpacked(write: object, file: str, tmp_path: Path) -> None:
    assert callable(write)
    names = ["a/b c/é.txt", "top.txt"]
    unpack_archive(write(tmp_path / file, *names), tmp_path / "out")
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == [b"ok", b"ok"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
def test_a_zip_member_outside_is_refused_before_anything_is_unpacked(
    name: str, tmp_path: Path
) -> None:
    archive = zip_file(tmp_path / "a.zip", "good", name)
    with pytest.raises(ValueError, match=r"a\.zip: .*evil.* lies outside"):
        unpack_archive(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["../evil", "a/../../evil"])
def test_a_tar_member_outside_is_refused(name: str, tmp_path: Path) -> None:
    archive = tar_file(tmp_path / "a.tar.gz", "good", name)
    with pytest.raises(ValueError, match=r"a\.tar\.gz: .*evil.* outside"):
        unpack_archive(archive, tmp_path / "out")
    assert not list(tmp_path.rglob("evil"))


def test_a_tar_member_with_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    unpack_archive(tar_file(tmp_path / "a.tar.gz", "/evil"), tmp_path / "out")
    assert (tmp_path / "out" / "evil").is_file()


def test_links_are_refused(tmp_path: Path) -> None:
    for archive in (
        tar_file(tmp_path / "a.tar.gz", "link", kind=tarfile.SYMTYPE),
        tar_file(tmp_path / "b.tar.gz", "link", kind=tarfile.LNKTYPE),
        zip_file(tmp_path / "a.zip", "link", mode=0o120777),
    ):
        with pytest.raises(ValueError, match=r"'link' is a link"):
            unpack_archive(archive, tmp_path / "out")


@pytest.mark.parametrize(("write", "file"), [(tar_file, "a.tar.gz"), (zip_file, "a.zip")])
def test_a_damaged_archive_is_named(write: object, file: str, tmp_path: Path) -> None:
    assert callable(write)
    archive = write(tmp_path / file, *(f"file{i}" for i in range(200)))
    archive.write_bytes(archive.read_bytes()[:-300])
    with pytest.raises(ValueError, match=rf"{file} is (damaged|neither)"):
        unpack_archive(archive, tmp_path / "out")


FILE_BY_FILE = [name for name, source in RELEASE_SOURCES.items() if source.repository]


@pytest.mark.parametrize("name", FILE_BY_FILE)
def test_every_file_of_a_repository_has_a_checksum_and_a_plain_path(name: str) -> None:
    files = file_checksums(name)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in files.values())
    assert all(re.fullmatch(r"data/[\w./]+\.(jpg|mat)", file) for file in files)
    assert not any(".." in file for file in files)


@pytest.mark.data
@pytest.mark.parametrize("name", ["osie", "nus_scene"])
def test_the_release_at_hand_is_that_of_the_registry(name: str, data_dir: Path) -> None:
    for file, digest in list(file_checksums(name).items())[::50]:
        assert hashlib.sha256((data_dir / name / file).read_bytes()).hexdigest() == digest
