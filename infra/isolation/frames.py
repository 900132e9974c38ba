"""The messages between a worker and its isolated processes: JSON and raw bytes, so that no answer can carry code."""

import json
from collections.abc import Mapping
from struct import Struct
from typing import Any, Final

HEAD: Final = Struct(">II")
"""The length of the JSON and the length of the payload, in bytes."""

Frame = tuple[dict[str, Any], bytes]
"""A JSON object, and a payload that the object describes."""


def pack(message: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """A frame as bytes. Lone surrogates, as in file names that are not Unicode, are kept as JSON escapes."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    return b"".join((HEAD.pack(len(body), len(payload)), body, payload))


def unpack(body: bytes, payload: bytes) -> Frame:
    """The frame of this JSON and payload. Raises `ValueError` if the former is no JSON object."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("the frame holds no object")
    return message, payload


def joined(texts: list[str]) -> tuple[list[int], bytes]:
    """Texts as one payload, and the length of each in bytes."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return [len(one) for one in encoded], b"".join(encoded)


def separated(sizes: list[int], payload: bytes) -> list[str]:
    """The texts that `joined` joined."""
    texts, start = [], 0
    for size in sizes:
        texts.append(payload[start : start + size].decode("utf-8", "surrogatepass"))
        start += size
    return texts
