"""Waits for outside systems that are away: logs which one, and keeps trying."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from schemas.errors import DependencyUnavailable

T = TypeVar("T")
log = structlog.get_logger(__name__)


async def patiently(call: Callable[[], Awaitable[T]], *, event: str, first_s: float = 0.5, longest_s: float = 5.0) -> T:
    """The result of `call`, which is repeated until the outside system behind it answers.

    Each failure is logged as a warning named `event`; pauses double from `first_s` to `longest_s` seconds. This is for
    work that must not be given up; work whose owner waits uses a deadline instead.
    """
    pause = first_s
    while True:
        try:
            return await call()
        except DependencyUnavailable as error:
            log.warning(event, error=error.message, retry_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest_s)
