"""A small HTTP server in a thread: a test plays the engine or the judge that a stack asks."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class SmallServer(ThreadingHTTPServer):
    """Listens on a free port of loopback as soon as it is made. `open`: what `reply` may wait for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.open = threading.Event()

    def reply(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> dict[str, Any]:
        """The JSON that answers a request, each of which has a thread of its own."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Answer requests. In the end nobody waits for `open` any longer."""
        with self:
            thread = threading.Thread(target=self.serve_forever, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                self.open.set()
                self.shutdown()
                thread.join()


class _Request(BaseHTTPRequestHandler):
    server: SmallServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = json.dumps(self.server.reply(self.path, self.headers, body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
