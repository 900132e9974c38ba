"""Shared by the tests of isolated processes: ways to look at them, and a service that misbehaves on request."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from infra.isolation.child import Task
from infra.isolation.frames import Frame
from schemas.errors import InvalidInput

OTHERS: set[int] = set()
"""Processes that this one started for something else."""


def tasks() -> Mapping[str, Task]:
    return {
        "echo": lambda request, payload: ({"said": request["say"], "process": os.getpid()}, payload),
        "hang": _hang,
        "spin": _spin,
        "eat": _eat,
        "shout": lambda request, _: ({}, b"x" * request["bytes"]),
        "die": lambda request, _: os.kill(os.getpid(), request["signal"]),
        "raise": _raise,
        "look": _look,
        "write": lambda request, _: ({"written": Path(request["path"]).write_bytes(b"x")}, b""),
    }


def _hang(request: dict[str, Any], _: bytes) -> Frame:
    # Ignores every signal that can be ignored, like C code that does not return.
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(name, signal.SIG_IGN)
    Path(f"/proc/{os.getpid()}/comm").write_text("hangs")
    while True:
        signal.pause()


def _spin(request: dict[str, Any], _: bytes) -> Frame:
    while True:
        pass


def _eat(request: dict[str, Any], _: bytes) -> Frame:
    held = bytearray(request["bytes"])
    return {"held": len(held)}, b""


def _raise(request: dict[str, Any], _: bytes) -> Frame:
    if request["kind"] == "refusal":
        raise InvalidInput("it is wrong", code="wrong", field="input.text")
    raise RuntimeError("the text of a tenant")


def _look(request: dict[str, Any], _: bytes) -> Frame:
    descriptors = [os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")[:-1]]
    return {
        "environment": dict(os.environ),
        "descriptors": descriptors,
        "threads": len(os.listdir("/proc/self/task")),
    }, b""


def servers(module: str) -> list[psutil.Process]:
    """This process's fork servers for that module, zombies included."""
    return [
        child
        for child in psutil.Process().children()
        if child.pid not in OTHERS and (child.status() == psutil.STATUS_ZOMBIE or module in child.cmdline())
    ]


def forked(module: str) -> list[psutil.Process]:
    """The processes that these have forked, zombies included."""
    return [child for server in servers(module) for child in server.children()]


async def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120  # a busy machine takes a while to load Kiwi
    while not _seen(true):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def _seen(true: Callable[[], object]) -> object:
    try:
        return true()
    except psutil.NoSuchProcess:  # a process ended while it was looked at
        return False
