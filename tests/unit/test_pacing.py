"""Whoever has the engine hold everything up again and again waits in between, and nobody else does."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from infra.vectors import pacing
from infra.vectors.pacing import LONGEST_S, PAUSES, Pacing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only sleep and work move on, and how long was slept."""
    clock = SimpleNamespace(now=100.0, slept=[])

    async def sleep(seconds: float) -> None:
        clock.slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(pacing, "asyncio", SimpleNamespace(sleep=sleep, Lock=asyncio.Lock))
    return clock


async def here(work: Callable[[], Any]) -> Any:
    return work()


async def test_a_tenant_waits_for_a_multiple_of_what_its_last_call_took(clock: SimpleNamespace) -> None:
    paced = Pacing()

    def work() -> str:
        clock.now += 0.1
        return "done"

    assert await paced.run("many", here, work) == "done"
    await paced.run("other", here, work)
    await paced.run("many", here, work)
    clock.now += 60
    await paced.run("many", here, work)
    assert clock.slept == pytest.approx([0, 0, PAUSES * 0.1 - 0.1, 0])


async def test_a_call_that_fails_counts_too_and_no_wait_is_long(clock: SimpleNamespace) -> None:
    paced = Pacing()

    def work() -> None:
        clock.now += 1
        raise OSError("the folder is gone")

    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            await paced.run("t", here, work)
    assert clock.slept == pytest.approx([0, LONGEST_S])
