"""A downloader for pooch that goes on where the last one stopped, which pooch's own cannot."""

import os
from pathlib import Path

import requests
from rich.progress import Progress

DOWNLOAD_ATTEMPTS = 3
CHUNK_BYTES = 1 << 15
CONNECTION_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


class ResumableDownloader:
    """Downloads into FILE.part first, and asks the server only for what is not yet there.

    Args:
        parts: the folder of the parts.
        progress: a bar per file, if given.
    """

    def __init__(self, parts: Path, progress: Progress | None = None) -> None:
        self.parts = parts
        self.progress = progress
        self.session = requests.Session()

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download `url`, trying three times; pooch then checks what arrived.

        Raises:
            OSError: the address cannot be reached, refuses, or stops early.
        """
        self.parts.mkdir(parents=True, exist_ok=True)
        part = self.parts / f"{url.rstrip('/').rsplit('/', 1)[-1].rsplit('=', 1)[-1]}.part"
        for left in reversed(range(DOWNLOAD_ATTEMPTS)):
            try:
                self._go_on(url, part)
                break
            except CONNECTION_ERRORS as error:
                if not left:
                    there = part.stat().st_size if part.exists() else 0
                    raise OSError(
                        f"{url} broke off, {there} bytes are here and stay: fetch again to go on "
                        f"({error})"
                    ) from error
        os.replace(part, output_file)

    def _go_on(self, url: str, part: Path) -> None:
        there = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if there:
            headers["Range"] = f"bytes={there}-"
        with self.session.get(url, headers=headers, stream=True, timeout=(10, 60)) as reply:
            if reply.status_code == requests.codes.requested_range_not_satisfiable:
                if reply.headers.get("Content-Range") == f"bytes */{there}":
                    return
                part.unlink()
                raise requests.ConnectionError(f"{url} has another size than before")
            reply.raise_for_status()
            onward = reply.status_code == requests.codes.partial_content
            there = there if onward else 0
            promised = int(reply.headers.get("Content-Length", 0))
            task = None
            if self.progress:
                total = there + promised or None
                task = self.progress.add_task(part.stem, total=total, completed=there)
            with part.open("ab" if onward else "wb") as file:
                for chunk in reply.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                    if self.progress and task is not None:
                        self.progress.advance(task, len(chunk))
