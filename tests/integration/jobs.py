"""Moves jobs by hand with the statements that gateway and workers use, and reads the results."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import uuid_utils.compat as uuids

from infra.postgres.database import Database
from infra.postgres.queries import cancel, claim, files, moves, submit
from infra.postgres.queries.claim import Claimed
from infra.postgres.queries.files import NewFile
from infra.postgres.queries.moves import Move, Moved
from infra.postgres.queries.submit import Made, NewJob
from schemas.errors import LeaseLost
from schemas.lifecycle import JobState


def new_job(**changes: Any) -> NewJob:
    """A no-op of tenant `default`; `changes` replace fields."""
    job = NewJob(
        id=uuids.uuid7(),
        tenant="default",
        kind="noop",
        stage="run",
        lane="interactive",
        input="{}",
        max_attempts=3,
    )
    return replace(job, **changes)


def new_child(*, key: str, **changes: Any) -> NewJob:
    """A no-op as a child of a fan-out."""
    return new_job(key=key, **changes)


def in_pages(children: Sequence[NewJob], parent: UUID, round: int = 1) -> Callable[[], AsyncIterator[list[NewJob]]]:
    """The children of a fan-out, as it inserts them."""

    async def pages() -> AsyncIterator[list[NewJob]]:
        for start in range(0, len(children), 1_000):
            yield [replace(child, parent=parent, round=round) for child in children[start : start + 1_000]]

    return pages


async def record_file(connection: Any, new: NewFile) -> None:
    """Record a file as an upload does, but without its bytes."""
    await files.expect(connection, new.blob)
    assert await files.add_expected(connection, new) is not None


class Jobs:
    """Jobs in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def make(self, *new: NewJob) -> list[Made | None]:
        async with self.database.connection() as connection:
            return await submit.submit(connection, new)

    async def submit(self, count: int = 1, **changes: Any) -> list[UUID]:
        new = [new_job(**changes) for _ in range(count)]
        assert None not in await self.make(*new)
        return [job.id for job in new]

    async def claim(self, *ids: UUID, lease_s: float = 60, worker: str = "w") -> list[Claimed]:
        """Claim jobs like a worker with fresh summonses."""
        rows = await self.rows(ids)
        async with self.database.connection() as connection:
            summons = [(row["id"], row["epoch"], row["stage"]) for row in rows]
            return await claim.claim(connection, summons, worker=worker, lease_s=lease_s)

    async def running(self, *, lease_s: float = 60, **changes: Any) -> tuple[UUID, int]:
        """A new running job; returns its id and epoch."""
        [job_id] = await self.submit(**changes)
        [row] = await self.claim(job_id, lease_s=lease_s)
        return job_id, row.epoch

    async def finish(
        self, job_id: UUID, epoch: int, state: JobState, *, worker: str = "w", **fields: Any
    ) -> Moved | None:
        async with self.database.connection() as connection:
            [moved] = await moves.finish(connection, [Move(job_id, epoch, state, **fields)], worker=worker)
        return moved

    async def fan_out(
        self, job_id: UUID, epoch: int, count: int, *, then: str = "run", worker: str = "w", **child: Any
    ) -> list[UUID]:
        """Make children; returns none when the fence fails."""
        children = [new_child(key=str(n), input=json.dumps({"steps": n % 100 + 1}), **child) for n in range(count)]
        held = await self.wait_for(job_id, epoch, children, then=then, carry='{"of": "x"}', worker=worker)
        return [child.id for child in children] if held else []

    async def wait_for(
        self,
        job_id: UUID,
        epoch: int,
        children: Sequence[NewJob],
        *,
        then: str,
        carry: str | None,
        worker: str = "w",
        at_once: int | None = None,
    ) -> bool:
        """Let a job wait for these children; false when the fence fails."""
        pages = in_pages(children, job_id, (await self.row(job_id))["rounds"] + 1)
        try:
            async with self.database.unit_of_work() as connection:
                await moves.fan_out(
                    connection,
                    job_id,
                    epoch,
                    worker=worker,
                    then=then,
                    carry=carry,
                    count=len(children),
                    pages=pages(),
                    at_once=at_once,
                )
        except LeaseLost:
            return False
        return True

    async def parent(self, count: int = 2) -> tuple[UUID, list[UUID]]:
        """A job that waits for `count` queued children."""
        job_id, epoch = await self.running()
        return job_id, await self.fan_out(job_id, epoch, count)

    async def resume(self, *parents: UUID) -> int:
        async with self.database.connection() as connection:
            return (await moves.resume_parents(connection, parents)).moved

    async def end(self, job_id: UUID, state: JobState = JobState.SUCCEEDED) -> None:
        """Claim a queued job and end it."""
        [row] = await self.claim(job_id)
        assert await self.finish(job_id, row.epoch, state) is not None

    async def cancel(self, job_id: UUID, tenant: str = "default") -> tuple[bool, set[UUID]]:
        async with self.database.connection() as connection:
            return await cancel.cancel(connection, job_id, tenant)

    async def heartbeat(self, *held: tuple[UUID, int], lease_s: float = 60, worker: str = "w") -> dict[UUID, bool]:
        async with self.database.connection() as connection:
            return await claim.heartbeat(connection, held, worker=worker, lease_s=lease_s)

    async def rows(self, ids: Sequence[UUID]) -> list[asyncpg.Record]:
        return await self.fetch("SELECT * FROM job WHERE id = ANY($1::uuid[]) ORDER BY id", list(ids))

    async def row(self, job_id: UUID) -> asyncpg.Record:
        [row] = await self.rows([job_id])
        return row

    async def states(self, ids: Sequence[UUID]) -> set[str]:
        return {row["state"] for row in await self.rows(ids)}

    async def messages(self, job_id: UUID) -> list[tuple[str, int]]:
        """A job's messages in the outbox, as (stage, epoch)."""
        rows = await self.fetch("SELECT stage, epoch FROM outbox WHERE job_id = $1 ORDER BY id", job_id)
        return [(row["stage"], row["epoch"]) for row in rows]

    async def history(self, job_id: UUID) -> list[str]:
        """The states in a job's events, in order."""
        rows = await self.fetch("SELECT data FROM job_event WHERE job_id = $1 AND type = 'state' ORDER BY id", job_id)
        return [json.loads(row["data"])["state"] for row in rows]

    async def until_blocked(self, sessions: int, statement: str = "") -> None:
        """Wait until this many sessions of the database wait for a lock in a statement that contains `statement`."""
        waiting = (
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND strpos(query, $1) > 0"
        )
        async with asyncio.timeout(60):
            while (await self.fetch(waiting, statement))[0]["n"] < sessions:
                await asyncio.sleep(0.01)

    async def fetch(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        async with self.database.connection() as connection:
            return await connection.fetch(statement, *values)
