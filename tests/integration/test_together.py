"""Everything that touches the same rows at the same time: no deadlock, nothing lost, nothing done twice."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from infra.postgres.queries import claim, deaths, moves
from infra.postgres.queries.moves import Move
from producers.rescue import Rescuer
from schemas.lifecycle import TERMINAL, JobState
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs

if TYPE_CHECKING:
    from infra.postgres.database import Connection

S = JobState


async def test_heartbeats_completions_cancellations_and_rescues_of_the_same_jobs_do_not_deadlock(jobs: Jobs) -> None:
    dice = random.Random(7)
    ids = await jobs.submit(300)
    held = [(row.id, row.epoch) for row in await jobs.claim(*ids)]
    rescuer = Rescuer(jobs.database, RESCUE, lambda: None)

    def some(size: int) -> list[tuple[UUID, int]]:
        return dice.sample(held, size)  # unordered: the statements must order them themselves

    async def beat() -> None:
        await jobs.heartbeat(*some(200), lease_s=dice.choice([-1, 60]))

    async def finish() -> None:
        group = [Move(*one, dice.choice(sorted(TERMINAL))) for one in some(30)]
        async with jobs.database.connection() as connection:
            await moves.finish(connection, group, worker="w")

    async def cancel() -> None:
        await jobs.cancel(some(1)[0][0])

    async def sweep() -> None:
        await rescuer.sweep()

    acts: list[Callable[[], Awaitable[None]]] = [beat, beat, finish, finish, cancel, sweep]
    for _ in range(15):
        await asyncio.gather(*(act() for act in acts * 2))
    for row in await jobs.rows(ids):
        ends = [state for state in await jobs.history(row["id"]) if state in TERMINAL]
        assert ends == ([row["state"]] if row["state"] in TERMINAL else [])


async def test_a_tree_that_is_cancelled_while_a_sweep_ends_its_children_does_not_deadlock(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, epoch = await jobs.running()
    children = await jobs.fan_out(root, epoch, 3, max_attempts=1)
    await jobs.claim(*children, lease_s=-1)
    end_leases = deaths.end_leases
    cancelling: list[asyncio.Task[tuple[bool, set[UUID]]]] = []

    async def end_leases_then_let_the_owner_cancel(connection: "Connection", limit: int, **how: Any) -> deaths.Lost:
        ended = await end_leases(connection, limit, **how)
        cancelling.append(asyncio.create_task(jobs.cancel(root)))
        await jobs.until_blocked(1)  # it now holds the parent and waits for the children that this sweep holds
        return ended

    monkeypatch.setattr(deaths, "end_leases", end_leases_then_let_the_owner_cancel)
    assert await Rescuer(jobs.database, RESCUE, lambda: None).sweep() == 3
    assert await cancelling[0] == (True, set())
    assert await jobs.states([root]) == {"cancelled"}
    assert await jobs.states(children) == {"failed"}


async def test_workers_that_race_for_the_same_jobs_end_each_once(jobs: Jobs) -> None:
    ids = await jobs.submit(100)
    summons = [(job_id, 0, "run") for job_id in ids]

    async def worker(name: str) -> int:
        mine = summons.copy()
        random.Random(name).shuffle(mine)
        done = 0
        for start in range(0, len(mine), 10):
            async with jobs.database.connection() as connection:
                rows = await claim.claim(connection, mine[start : start + 10], worker=name, lease_s=60)
                group = [Move(row.id, row.epoch, S.SUCCEEDED) for row in rows]
                done += sum(moved is not None for moved in await moves.finish(connection, group, worker=name))
        return done

    assert sum(await asyncio.gather(*(worker(f"w{n}") for n in range(6)))) == len(ids)
    assert {(row["state"], row["epoch"]) for row in await jobs.rows(ids)} == {("succeeded", 1)}
