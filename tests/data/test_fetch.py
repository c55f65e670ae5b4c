import errno
import hashlib
import io
import multiprocessing
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import pytest

from deepsal.data import download, fetch, fetched
from deepsal.data.releases import ARCHIVES, REPOSITORIES, Archive

BYTES = bytes(range(256)) * 2000


def zipped(**members: bytes) -> bytes:
    page = io.BytesIO()
    with zipfile.ZipFile(page, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return page.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `files`; breaks off after `stop` bytes while `breaks` lasts; notes what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.stop, self.breaks, self.ranges = 100_000, 0, True
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        if self.server.breaks > 0:
            self.server.breaks -= 1
            rest = rest[: self.server.stop]
            self.close_connection = True
        self.wfile.write(rest)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A release of two files, file by file, and one of an archive."""
    found = Server()
    files = {"data/a.jpg": b"a" * 5000, "data/eye/f.mat": BYTES}
    for name, content in files.items():
        found.files[f"/toy/{name}"] = content
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(import_module("deepsal.data.fetch"), "registry", lambda _: sums)
    monkeypatch.setitem(REPOSITORIES, "toy", f"{found.url}/toy")
    content = zipped(**{"ALL/1.txt": b"one", "ALL/2.bin": os.urandom(900_000)})
    found.files["/all.zip"] = content
    md5 = hashlib.md5(content).hexdigest()
    monkeypatch.setitem(ARCHIVES, "big", [Archive("all.zip", f"{found.url}/all.zip", md5)])
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def tree(folder: Path) -> dict[str, int]:
    return {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".lock"
    }


def test_a_set_comes_file_by_file_and_is_then_left_alone(server: Server, tmp_path: Path) -> None:
    assert fetch("toy", tmp_path) == tmp_path / "toy"
    assert tree(tmp_path) == {"toy/data/a.jpg": 5000, "toy/data/eye/f.mat": len(BYTES)}
    fetch("toy", tmp_path)
    assert len(server.asked) == 2


def test_a_file_that_went_missing_or_wrong_is_brought_again(server: Server, tmp_path: Path) -> None:
    fetch("toy", tmp_path)
    (tmp_path / "toy/data/a.jpg").unlink()
    (tmp_path / "toy/data/eye/f.mat").write_bytes(b"changed")
    fetch("toy", tmp_path)
    assert (tmp_path / "toy/data/eye/f.mat").read_bytes() == BYTES
    assert len(tree(tmp_path)) == 2


def test_an_archive_is_unpacked_and_the_download_removed(server: Server, tmp_path: Path) -> None:
    fetch("big", tmp_path)
    assert tree(tmp_path) == {"big/ALL/1.txt": 3, "big/ALL/2.bin": 900_000}
    assert not (tmp_path / ".big.partial").exists()


def test_a_broken_connection_is_taken_up_by_itself(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    fetch("big", tmp_path)
    assert [r for _, r in server.asked] == [None, "bytes=98304-", "bytes=196608-"]
    assert len(tree(tmp_path)) == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_fetch_goes_on_where_it_stopped(
    ranges: bool, server: Server, tmp_path: Path
) -> None:
    server.breaks, server.ranges = download.TRIES, ranges
    with pytest.raises(OSError, match=r"all\.zip broke off, \d+ bytes are here .*again to go on"):
        fetch("big", tmp_path)
    assert not (tmp_path / "big").exists()
    (part,) = (tmp_path / ".big.partial").glob("*.part")
    there = part.stat().st_size
    assert there == (3 * 98304 if ranges else 98304)
    fetch("big", tmp_path)
    assert server.asked[-1] == ("/all.zip", f"bytes={there}-")
    assert len(tree(tmp_path)) == 2


def test_a_part_that_was_whole_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".big.partial").mkdir()
    (tmp_path / ".big.partial" / "all.zip.part").write_bytes(server.files["/all.zip"])
    fetch("big", tmp_path)
    assert len(tree(tmp_path)) == 2


@pytest.mark.parametrize("name", ["toy", "big"])
@pytest.mark.parametrize("change", [b"", b"longer", b"\x01"])
def test_another_size_or_content_is_refused_and_nothing_of_it_stays(
    name: str, change: bytes, server: Server, tmp_path: Path
) -> None:
    for path, content in server.files.items():
        server.files[path] = content[:-1] + change
    with pytest.raises(ValueError, match=rf"{server.url}/.* is not the release's file: .*hash"):
        fetch(name, tmp_path)
    assert tree(tmp_path) == {}
    assert not (tmp_path / name).exists()


def test_an_archive_at_hand_needs_no_network(server: Server, tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(server.files["/all.zip"])
    fetch("big", tmp_path)
    assert not server.asked
    assert tree(tmp_path)["big/ALL/1.txt"] == 3


def test_a_wrong_archive_at_hand_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"all\.zip is not the release's archive"):
        fetch("big", tmp_path)


def test_an_archive_that_leads_out_of_its_folder_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped(**{"ok.txt": b"ok", "../../evil.txt": b"evil"})
    archive = Archive("bad.zip", f"{server.url}/bad.zip", hashlib.md5(content).hexdigest())
    server.files["/bad.zip"] = content
    monkeypatch.setitem(ARCHIVES, "bad", [archive])
    with pytest.raises(ValueError, match=r"bad\.zip: its member .*evil\.txt.* leads out of"):
        fetch("bad", tmp_path)
    assert not list(tmp_path.rglob("*.txt"))


def test_a_second_process_waits_and_finds_the_set(server: Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fetch, args=(n, tmp_path)) for n in ("toy", "big") * 3]
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
            fetch(name, tmp_path)
    assert not (tmp_path / name).exists()
    fetch(name, tmp_path)
    assert (tmp_path / name).is_dir()


def test_a_mirror_stands_in_for_the_address(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m/big/all.zip"] = server.files.pop("/all.zip")
    fetch("big", tmp_path / "a", mirror=f"{server.url}/m")
    monkeypatch.setenv("DEEPSAL_MIRROR", f"{server.url}/m")
    fetch("big", tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_missing_file_and_an_unknown_name_are_told(server: Server, tmp_path: Path) -> None:
    del server.files["/all.zip"]
    with pytest.raises(OSError, match=r"/all\.zip: 404"):
        fetch("big", tmp_path)
    with pytest.raises(ValueError, match=r"for 'salt'; those known are osie, .*mit1003"):
        fetch("salt", tmp_path)


def test_a_missing_set_is_fetched_by_itself_or_the_command_is_said(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    assert fetched("toy", tmp_path / "a") == tmp_path / "a"
    assert "python -m deepsal.data fetch toy --to" in caplog.text
    assert not server.asked
    monkeypatch.setenv("DEEPSAL_OFFLINE", "0")
    fetched("toy", tmp_path / "a")
    assert len(tree(tmp_path / "a")) == 2
    monkeypatch.setitem(REPOSITORIES, "toy", "http://127.0.0.1:1/nothing")
    caplog.clear()
    assert fetched("toy", tmp_path / "b") == tmp_path / "b"
    assert "where there is a network: python -m deepsal.data fetch toy --to" in caplog.text
