"""The no-op waits for the given time and reports each step."""

from time import monotonic

from consumers.stages.noop import run as noop
from schemas.outcomes import Done
from tests.unit.ports_in_memory import World


async def test_noop_is_done_at_once() -> None:
    world = World()
    assert await noop.run(world.job("noop", "run", {}), world.ports) == Done({})
    assert world.reports == []


async def test_noop_sleeps_in_steps() -> None:
    world = World()
    began = monotonic()
    await noop.run(world.job("noop", "run", {"sleep_s": 0.05, "steps": 5}), world.ports)
    assert monotonic() - began >= 0.05
    assert world.reports == [(step, 5, None) for step in range(1, 6)]
