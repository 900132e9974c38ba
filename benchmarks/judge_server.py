"""A judge for benchmarks, and a writer of answers: a local OpenAI-compatible server that takes so much and no more.

A call takes 200 ms from the arrival of its request to its reply, and 20 are taken at once. A reply depends on the
prompt alone, so that asking again gives the same score. With `faults`, every sixtieth call is answered 429, 500, HTML,
or what cannot be read.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from zlib import crc32

LIMIT: Final = 20
SECONDS: Final = 0.2
FAULT_EVERY: Final = 60
"""Calls between two faults, of which there are four kinds."""
MODELS: Final = """
[[models]]
name = "default"
engine = "extractive"

[[models]]
name = "judge"
engine = "openai"
url = "{url}"
limits = {{ at_once = {limit} }}

[[models]]
name = "writer"
engine = "openai"
url = "{url}"
limits = {{ at_once = {limit} }}
"""


class JudgeServer(ThreadingHTTPServer):
    """Replies with a value of the schema that it is asked for, or with a sentence where it is asked for none.

    `good`: usable replies by model and prompt.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *, faults: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.models = MODELS.format(url=self.url, limit=LIMIT)
        self.wrong = faults
        self.lock = threading.Lock()
        self.calls = 0
        self.busy = 0
        self.faults = 0
        self.refused = 0
        self.good: Counter[tuple[str, str]] = Counter()
        self.first = self.last = 0.0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet where a worker was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def replied(self, model: str) -> int:
        """Prompts of a model that have a usable reply."""
        with self.lock:
            return sum(name == model for name, _ in self.good)

    def twice(self, model: str) -> int:
        """Usable replies of a model to a prompt beyond the first."""
        with self.lock:
            return sum(count - 1 for (name, _), count in self.good.items() if name == model)


class _Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together. Apart, and with Nagle's algorithm, the body would wait 40 ms for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: JudgeServer

    def parse_request(self) -> bool:
        self._arrived = time.perf_counter()
        return super().parse_request()

    def do_POST(self) -> None:
        at = self.server
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        except (OSError, ValueError):  # its worker was killed
            self.close_connection = True
            return
        with at.lock:
            at.first = at.first or time.perf_counter()
            at.calls += 1
            fault = at.calls // FAULT_EVERY % 4 if at.wrong and at.calls % FAULT_EVERY == 0 else None
            full = at.busy >= LIMIT
            at.busy += not full
            at.refused += full
        if full:
            self._send(429, b'{"error": {"message": "too many"}}', "application/json")
            return
        prompt = json.dumps(body["messages"], ensure_ascii=False)
        reply = _reply(body, crc32(prompt.encode()))
        time.sleep(max(0.0, self._arrived + SECONDS - time.perf_counter()))
        with at.lock:
            at.busy -= 1
            at.last = time.perf_counter()
            at.faults += fault is not None
            if fault is None:
                at.good[body["model"], prompt] += 1
        match fault:
            case 0:
                self._send(429, b'{"error": {"message": "slow down"}}', "application/json")
            case 1:
                self._send(500, b"oops", "text/plain")
            case 2:
                self._send(200, b"<html>busy</html>", "text/html")
            case _:
                text = "I had rather not say." if fault == 3 else reply
                message = {"role": "assistant", "content": text}
                usage = {"prompt_tokens": len(prompt) // 3, "completion_tokens": len(reply) // 3}
                whole = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
                self._send(200, json.dumps(whole).encode(), "application/json")

    def _send(self, status: int, data: bytes, content_type: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # its worker was killed
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _reply(body: Any, number: int) -> str:
    """What a number makes of the request: JSON where it names a schema, else a sentence."""
    wanted = body.get("response_format")
    if wanted is None:
        return f"그것은 {number % 100} 미터이다."
    return json.dumps(_value(wanted["json_schema"]["schema"], number), ensure_ascii=False)


def _value(schema: Any, number: int, whole: Any = None) -> Any:
    """A value of the schema: lists of two, numbers of 0 and 1."""
    whole = whole or schema
    if "$ref" in schema:
        return _value(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], number, whole)
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    match schema.get("type"):
        case "object":
            return {name: _value(part, number, whole) for name, part in schema["properties"].items()}
        case "array":
            return [_value(schema["items"], number, whole)] * 2
        case "integer" | "number":
            return number % 2
        case _:
            return "because"


@contextmanager
def judge_server(*, faults: bool) -> Iterator[JudgeServer]:
    """The server, in a thread of this process."""
    with JudgeServer(faults=faults) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
