"""A downloader for pooch that resumes an interrupted download, which pooch's own cannot."""

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
    """Downloads into FILE.part, and asks the server only for the bytes that are missing there.

    Args:
        parts_folder: the folder of the .part files.
        progress: shows a bar per file; None for no bar.
    """

    def __init__(self, parts_folder: Path, progress: Progress | None = None) -> None:
        self.parts_folder = parts_folder
        self.progress = progress
        self.session = requests.Session()

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download `url` in at most three attempts; pooch then checks the file.

        Raises:
            OSError: the address cannot be reached, refuses, or stops early.
        """
        self.parts_folder.mkdir(parents=True, exist_ok=True)
        name = url.rstrip("/").rsplit("/", 1)[-1].rsplit("=", 1)[-1]
        part = self.parts_folder / f"{name}.part"
        for attempts_left in reversed(range(DOWNLOAD_ATTEMPTS)):
            try:
                self._continue_download(url, part)
                break
            except CONNECTION_ERRORS as error:
                if not attempts_left and not _size(part):
                    raise OSError(
                        f"{url} cannot be reached; is this machine offline? ({error})"
                    ) from error
                if not attempts_left:
                    raise OSError(
                        f"{url} broke off; its first {_size(part)} bytes are stored; fetch again "
                        f"to resume ({error})"
                    ) from error
        os.replace(part, output_file)

    def _continue_download(self, url: str, part: Path) -> None:
        start = _size(part)
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with self.session.get(url, headers=headers, stream=True, timeout=(10, 60)) as reply:
            if reply.status_code == requests.codes.requested_range_not_satisfiable:
                if reply.headers.get("Content-Range") == f"bytes */{start}":
                    return
                part.unlink()
                raise requests.ConnectionError(f"{url} has another size than before")
            reply.raise_for_status()
            resumed = reply.status_code == requests.codes.partial_content
            start = start if resumed else 0
            task = None
            if self.progress:
                total = start + int(reply.headers.get("Content-Length", 0)) or None
                task = self.progress.add_task(part.stem, total=total, completed=start)
            with part.open("ab" if resumed else "wb") as file:
                for chunk in reply.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                    if self.progress and task is not None:
                        self.progress.advance(task, len(chunk))


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
