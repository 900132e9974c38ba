"""How a worker and its parser processes talk: JSON, so that a process that a file took over cannot send code."""

import json
from typing import Any, Final

HEAD_BYTES: Final = 4


def pack(answer: dict[str, Any]) -> bytes:
    """An answer as bytes: its length, big endian, and JSON."""
    body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
    return len(body).to_bytes(HEAD_BYTES, "big") + body


def line(request: dict[str, Any]) -> bytes:
    """A request as bytes: a line of JSON in ASCII, so that no file name breaks it."""
    return json.dumps(request).encode("ascii") + b"\n"
