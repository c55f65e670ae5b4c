import re
from pathlib import Path

import pytest
import requests

from deepsal.data.download.resumable import ResumableDownloader


def test_an_address_that_cannot_be_reached_is_named_after_three_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refused(_: object, url: str, part: Path) -> None:
        tries.append(part.name)
        raise requests.ConnectionError("refused")

    monkeypatch.setattr(ResumableDownloader, "_go_on", refused)
    with pytest.raises(OSError, match=re.escape("http://x/a.zip broke off, 0 bytes are here")):
        ResumableDownloader(tmp_path)("http://x/a.zip", str(tmp_path / "out"), None)
    assert tries == ["a.zip.part"] * 3
    assert not (tmp_path / "out").exists()
