import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from deepsal.data.download.resumable import ResumableDownloader


def test_an_address_that_cannot_be_reached_is_named_after_three_tries(tmp_path: Path) -> None:
    urls = []

    def refuse(url: str, **_: object) -> None:
        urls.append(url)
        raise requests.ConnectionError("refused")

    downloader = ResumableDownloader(tmp_path)
    downloader.session = SimpleNamespace(get=refuse)  # type: ignore[assignment]
    message = "http://x/a.zip cannot be reached; is this machine offline? (refused)"
    with pytest.raises(OSError, match=re.escape(message)):
        downloader("http://x/a.zip", str(tmp_path / "out"), None)
    assert urls == ["http://x/a.zip"] * 3
    assert not (tmp_path / "out").exists()
