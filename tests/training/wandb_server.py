"""Stand-in for the W&B server: it stores what `wandb sync` sends to it."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class WandbServer(ThreadingHTTPServer):
    """Server for one run, with the requests of wandb 0.31.

    rows: of the history, in their order on the server · runs: names of the runs that were written ·
    exit_codes: of the segments · uploads: `{path: content}` of files.
    """

    request_queue_size = 128  # more than the uploads of one run
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.rows: list[str] = []
        self.runs: set[str] = set()
        self.exit_codes: list[int] = []
        self.uploads: dict[str, bytes] = {}

    def history(self) -> list[dict[str, Any]]:
        """Return the rows of the run."""
        return [json.loads(row) for row in self.rows]

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data that answers a GraphQL request; nothing for one without use here."""
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": "me"}}
        bucket: dict[str, Any] = {
            "id": "b",
            "name": variables.get("name"),
            "config": "{}",
            "tags": [],
        }
        if operation == "RunResumeStatus" and self.rows:
            lines = {"historyLineCount": len(self.rows), "eventsLineCount": 0, "logLineCount": 0}
            tails = {"historyTail": json.dumps(self.rows[-1:]), "eventsTail": "[]"}
            texts = {"summaryMetrics": "{}", "wandbConfig": '{"t": 1}'}
            return {"model": {**project, "bucket": {**bucket, **lines, **tails, **texts}}}
        if operation == "UpsertBucket":
            self.runs.add(variables["name"])
            return {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}}
        if operation == "CreateRunFiles":
            files = [{"name": n, "uploadUrl": f"{self.address}/{n}"} for n in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *_values: object) -> None:
        """Print nothing."""

    def do_PUT(self) -> None:
        self.server.uploads[self.path[1:]] = self._content()
        self._reply({})

    def do_POST(self) -> None:
        request = json.loads(self._content())
        if self.path.endswith("file_stream"):
            if chunk := (request.get("files") or {}).get("wandb-history.jsonl"):
                self.server.rows[chunk["offset"] :] = chunk["content"]
            if request.get("complete"):
                self.server.exit_codes.append(request["exitcode"])
            self._reply({})
        else:
            (operation,) = re.findall(r"^\s*(?:query|mutation) (\w+)", request["query"], re.M)
            self._reply({"data": self.server.answer(operation, request.get("variables") or {})})

    def _content(self) -> bytes:
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        return gzip.decompress(content) if self.headers["Content-Encoding"] == "gzip" else content

    def _reply(self, values: dict[str, Any]) -> None:
        content = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """Run a server inside the block."""
    with WandbServer() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
