import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from deepsal.data.download.unpack import unpack


def tarred(file: Path, *names: str, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, 0, "/etc/passwd"
            if kind == tarfile.REGTYPE:
                entry.size = 2
            archive.addfile(entry, io.BytesIO(b"ok"))
    return file


def zipped(file: Path, *names: str, mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"ok")
    return file


@pytest.mark.parametrize(("write", "file"), [(tarred, "a.tar.gz"), (zipped, "a.zip")])
def test_an_archive_is_unpacked(write: object, file: str, tmp_path: Path) -> None:
    assert callable(write)
    names = ["a/b c/é.txt", "top.txt"]
    unpack(write(tmp_path / file, *names), tmp_path / "out")
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == [b"ok", b"ok"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
@pytest.mark.parametrize(("write", "file"), [(tarred, "a.tar.gz"), (zipped, "a.zip")])
def test_a_member_outside_is_refused_before_anything_is_unpacked(
    write: object, file: str, name: str, tmp_path: Path
) -> None:
    assert callable(write)
    archive = write(tmp_path / file, "good", name)
    with pytest.raises(ValueError, match=r"its member .*evil.* leads out of"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_links_are_refused(tmp_path: Path) -> None:
    for archive in (
        tarred(tmp_path / "a.tar.gz", "link", kind=tarfile.SYMTYPE),
        tarred(tmp_path / "b.tar.gz", "link", kind=tarfile.LNKTYPE),
        zipped(tmp_path / "a.zip", "link", mode=0o120777),
    ):
        with pytest.raises(ValueError, match=r"its member 'link' is a link"):
            unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(("write", "file"), [(tarred, "a.tar.gz"), (zipped, "a.zip")])
def test_a_damaged_archive_is_named(write: object, file: str, tmp_path: Path) -> None:
    assert callable(write)
    archive = write(tmp_path / file, *(f"file{i}" for i in range(200)))
    archive.write_bytes(archive.read_bytes()[:-300])
    with pytest.raises(ValueError, match=rf"{file} is (damaged|neither)"):
        unpack(archive, tmp_path / "out")
