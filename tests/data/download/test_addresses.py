import hashlib
import re
from pathlib import Path

import pytest

from deepsal.data.download.addresses import RELEASE_ARCHIVES, REPOSITORY_ADDRESSES, file_checksums


def test_every_file_of_a_repository_has_a_checksum_and_a_plain_path() -> None:
    for name in REPOSITORY_ADDRESSES:
        files = file_checksums(name)
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in files.values())
        assert all(re.fullmatch(r"data/[\w./]+\.(jpg|mat)", file) for file in files)
        assert not any(".." in file for file in files)


def test_addresses_name_a_pinned_commit() -> None:
    assert all(re.search(r"/[0-9a-f]{40}$", address) for address in REPOSITORY_ADDRESSES.values())


def test_every_archive_has_an_md5() -> None:
    archives = [archive for several in RELEASE_ARCHIVES.values() for archive in several]
    assert all(re.fullmatch(r"[0-9a-f]{32}", archive.md5) for archive in archives)


@pytest.mark.data
@pytest.mark.parametrize("name", ["osie", "nus_scene"])
def test_the_release_at_hand_is_that_of_the_registry(name: str, data_dir: Path) -> None:
    for file, digest in list(file_checksums(name).items())[::50]:
        assert hashlib.sha256((data_dir / name / file).read_bytes()).hexdigest() == digest
