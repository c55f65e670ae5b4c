import hashlib
import io
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from deepsal.data import SaliencyDataset, fetch_dataset
from deepsal.data.augment import RandomAugmentation
from deepsal.data.datasets.card import ReleaseSource
from deepsal.data.download.fetch import file_checksums
from deepsal.data.index import RELEASE_SOURCES
from deepsal.data.saliency_images import SaliencyImages
from tests.data.fakes import FAKES

Copied = Callable[[str], Path]
Refetch = Callable[[str, Path, Mapping[str, tuple[str, str]]], Path]


def zipped(members: Mapping[str, bytes]) -> bytes:
    page = io.BytesIO()
    with zipfile.ZipFile(page, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return page.getvalue()


def same(one: SaliencyDataset, other: SaliencyDataset) -> bool:
    """Whether two data sets have the same images, points, splits and counts."""
    about = [(d.name, d.splits, d.sigma, d.dropped, len(d.stimuli)) for d in (one, other)]
    return about[0] == about[1] and all(
        (a.name, a.size, a.sigma) == (b.name, b.size, b.sigma)
        and np.array_equal(a.fixations, b.fixations)
        and np.array_equal(a.observers, b.observers)
        for a, b in zip(one.stimuli, other.stimuli, strict=True)
    )


def stays(data: SaliencyDataset) -> int:
    """Follow planted pixels through load, crop, flip and resize; return how many were seen.

    The brightest pixel must lie under a fixation: within half a pixel of the stored image and, as
    the network's image has pixels too, half of one of those.
    """
    torch.manual_seed(0)
    height, width = data.stimuli[0].size
    subset = replace(data, splits={"train": range(min(8, len(data.stimuli)))})
    augmented = RandomAugmentation(flip=0.5, crop=0.6, keep=0.0)
    images = SaliencyImages(subset, subset.splits["train"], (3 * height, 3 * width), augmented)
    seen = 0
    for index in [*range(len(images))] * 4:
        sample = images[index]
        grey = sample.image[0]
        place = np.array(np.unravel_index(int(grey.argmax()), grey.shape)[::-1])
        end, stored = np.array(grey.shape[::-1]) - 1, images.stimuli[index].size
        frame = stored if sample.size == stored else images.cached_size
        scale = (end + 1) / sample.size[::-1]
        pixel = scale * frame[::-1] / stored[::-1]  # a stored one, in pixels of the network's image
        if grey.max() < 0.25 or (place < pixel).any() or (place > end - pixel).any():
            continue  # outside the crop, or cut through by its border
        apart = np.abs((sample.points.numpy() + 0.5) * scale - 0.5 - place)
        assert (apart <= 0.5 * pixel + 0.5).all(1).any()
        seen += 1
    return seen


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small releases, each written once."""
    return tmp_path_factory.mktemp("releases")


@pytest.fixture
def copied(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copied:
    """Copies a small release into a data folder of the test and makes its loader expect it."""

    def copy(name: str) -> Path:
        if not (originals / name).exists():
            FAKES[name].write(originals)
        shutil.copytree(originals / name, tmp_path / name)
        FAKES[name].install(monkeypatch)
        return tmp_path

    return copy


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
        range_header = self.headers.get("Range")
        self.server.asked.append((self.path, range_header))
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        start = 0
        if range_header and self.server.ranges:
            start = int(range_header.removeprefix("bytes=").rstrip("-"))
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
def serving() -> Iterator[Server]:
    """A server that runs."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def refetch(serving: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refetch:
    """Serves a fake release as its authors do, fetches it and returns the new data folder.

    It takes the set, the folder of its fake tree and, for each archive, what of the tree it holds
    under which name; without archives the set comes file by file.
    """

    def fetched(name: str, tree: Path, archives: Mapping[str, tuple[str, str]]) -> Path:
        if not archives:
            files = {str(f.relative_to(tree)): f for f in tree.rglob("*") if f.is_file()}
            assert set(files) <= set(file_checksums(name)), "no such file in the release"
            serving.files |= {f"/{name}/{f}": path.read_bytes() for f, path in files.items()}
            sums = {f: hashlib.sha256(path.read_bytes()).hexdigest() for f, path in files.items()}
            monkeypatch.setattr(
                import_module("deepsal.data.download.fetch"), "file_checksums", lambda _: sums
            )
            source = ReleaseSource(repository=f"{serving.url}/{name}")
            monkeypatch.setitem(RELEASE_SOURCES, name, source)
        else:
            source = RELEASE_SOURCES[name]
            assert [archive.file_name for archive in source.archives] == list(archives)
            for file, (part, called) in archives.items():
                serving.files[f"/{file}"] = _packed(tree / part, called)
            served = tuple(
                a._replace(
                    url=f"{serving.url}/{a.file_name}",
                    md5=hashlib.md5(serving.files[f"/{a.file_name}"]).hexdigest(),
                )
                for a in source.archives
            )
            monkeypatch.setitem(RELEASE_SOURCES, name, source._replace(archives=served))
        fetch_dataset(name, tmp_path / "fetched")
        return tmp_path / "fetched"

    return fetched


def _packed(part: Path, called: str) -> bytes:
    """Return a folder as an archive that a Mac made, or a table as it is."""
    if part.is_file():
        return part.read_bytes()
    root = f"{called}/" if called else ""
    members = {f"{root}.svn/entries": b"", f"{root}.DS_Store": b"", f"__MACOSX/{root}._a": b""}
    for file in sorted(part.rglob("*")):
        if file.is_file():
            members[f"{root}{file.relative_to(part)}"] = file.read_bytes()
    return zipped(members)
