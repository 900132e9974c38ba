"""An isolated process: takes requests from its socket, one after the other, and answers them.

Hostile input may take the process over. So it knows no secrets, writes no files, and answers only in JSON and raw
bytes.
"""

import socket
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, BinaryIO

from infra.isolation.frames import HEAD, Frame, pack, unpack
from infra.isolation.limits import Growth, Limits, allow, restrain
from schemas.errors import JobError

Task = Callable[[dict[str, Any], bytes], Frame]
"""Answers requests of one type. Blocking; raises a `JobError` if its owner should see the error."""


def serve(channel: socket.socket, tasks: Mapping[str, Task], limits: Limits, name: str) -> None:
    """Answer until the worker closes the channel, the requests are used up, or half of the memory is in use."""
    restrain(limits, name)
    growth = Growth(limits)
    with channel, channel.makefile("rb") as requests, channel.makefile("wb") as answers:
        for number in count(1):
            frame = _received(requests)
            if frame is None:
                return
            allow(limits)
            answer, payload, broken = _answer(tasks, *frame)
            spent = limits.requests is not None and (number >= limits.requests or growth.half())
            last = broken or spent
            answers.write(pack({**answer, "last": last}, payload))
            answers.flush()
            if last:
                return


def _received(stream: BinaryIO) -> Frame | None:
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    size, payload = HEAD.unpack(head)
    body, rest = stream.read(size), stream.read(payload)
    return unpack(body, rest) if len(body) + len(rest) == size + payload else None


def _answer(tasks: Mapping[str, Task], request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes, bool]:
    """The answer, its payload, and whether the process must not be used again."""
    try:
        answer, made = tasks[request["task"]](request, payload)
        return {"answer": answer}, made, False
    except JobError as error:
        told = {"type": type(error).__name__, "code": error.reason, "message": error.message, "field": error.field}
        return {"refused": told}, b"", False
    except MemoryError:
        return {"failed": "memory"}, b"", True
    except BaseException as error:  # noqa: BLE001 - a panic of Rust code is no `Exception`
        # A library's message may quote the text, so only the type of the error is passed on.
        return {"failed": "defect", "why": type(error).__name__}, b"", not isinstance(error, Exception)
