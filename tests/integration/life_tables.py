"""Reads and changes the tables of jobs: the asynchronous half of the test of the life cycle."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from infra.postgres.queries import listing, outbox, reading, submit
from tests.integration.jobs import Jobs
from tests.integration.life_acts import Act, Answer
from tests.integration.life_model import Life, Summons

JOBS: Final = """
SELECT id, tenant, parent, idempotency_key AS key, state, stage, epoch, attempt, max_attempts, worker, waiting,
       deaths, suspicion, cancel_requested AS marked, progress_done AS done, carry, result, error->>'code' AS error,
       paused_at IS NOT NULL AS paused, state = 'queued' AND summoned_at IS NULL AS held,
       expires_at IS NOT NULL AS expires, lease_until IS NOT NULL AS leased, finished_at IS NOT NULL AS finished
FROM job
"""
EVENTS: Final = """
SELECT id, job_id, CASE type WHEN 'state' THEN data->>'state' ELSE type END AS told
FROM job_event WHERE id > $1 ORDER BY id
"""
BLOCKED: Final = """
SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
TIME: Final = {
    "lease_over": "UPDATE job SET lease_until = now() - interval '1 s' WHERE id = $1",
    "due": "UPDATE job SET due_at = now() - interval '1 s' WHERE id = $1",
    "expired": "UPDATE job SET expires_at = now() - interval '1 s' WHERE id = $1",
    "silent": "UPDATE job SET due_at = now() - interval '1 h', summoned_at = now() - interval '1 h' WHERE id = $1",
}
# The rescuer's pause before another try is random and may be zero, but the model decides when it is over. Also, no
# suspect outruns its last death here.
HOLD_BACK: Final = """
UPDATE job SET due_at = now() + interval '1 h', died_after = CASE WHEN deaths > 0 THEN interval '1 day' END
WHERE id = ANY($1) AND state = 'retry_wait'
"""


class Tables:
    """The tables, which each state machine finds empty."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.told: dict[UUID, list[str]] = {}
        self.last_event = 0

    async def clear(self) -> None:
        await self.jobs.fetch("TRUNCATE job, job_event, outbox, webhook_delivery, dead_letter CASCADE")
        await self.look()

    async def look(self) -> dict[str, Any]:
        """The same as `World.shown`. New events have larger ids, so one that comes late is missed, and noticed."""
        async with self.jobs.database.connection() as connection:
            for row in await connection.fetch(EVENTS, self.last_event):
                self.told.setdefault(row["job_id"], []).append(row["told"])
                self.last_event = row["id"]
            rows = await connection.fetch(JOBS)
            messages = await connection.fetch("SELECT job_id, epoch, stage FROM outbox")
            deliveries = await connection.fetch("SELECT job_id, type FROM webhook_delivery")
            letters = await connection.fetch("SELECT job_id FROM dead_letter")
        return {
            "jobs": {row["id"]: {**row, "told": list(self.told.get(row["id"], []))} for row in rows},
            "outbox": Counter(Summons(*row) for row in messages),
            "deliveries": Counter(tuple(row) for row in deliveries),
            "dead letters": Counter(row["job_id"] for row in letters),
        }

    async def whole_history(self) -> dict[UUID, list[str]]:
        """All events from the first on, in the order of their ids."""
        self.told, self.last_event = {}, 0
        await self.look()
        return self.told

    async def pass_time(self, timers: Iterable[tuple[UUID, str]]) -> None:
        for id, what in timers:
            await self.jobs.fetch(TIME[what], id)

    async def hold_back(self, ids: Sequence[UUID]) -> None:
        await self.jobs.fetch(HOLD_BACK, ids)

    async def relay(self, limit: int, *, dies: bool) -> list[Summons]:
        """Take messages as a relay does; with `dies`, it dies before the commit."""
        async with self.jobs.database.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            taken = await outbox.take(connection, limit)
            await (transaction.rollback() if dies else transaction.commit())
        return [Summons(row["job_id"], row["epoch"], row["stage"]) for row in taken]

    async def at_once(self, acts: Sequence[Act], *, behind: bool) -> list[Answer]:
        """The answers of acts that run side by side; with `behind` they start while someone else holds every row."""
        if not behind:
            return await asyncio.gather(*(act.do(self.jobs) for act in acts))
        async with self.jobs.database.unit_of_work() as connection, asyncio.timeout(60):
            await connection.execute("SELECT 1 FROM job FOR UPDATE")
            tasks = [asyncio.create_task(act.do(self.jobs)) for act in acts]
            while (await self.jobs.fetch(BLOCKED))[0]["n"] < sum(not task.done() for task in tasks):
                pass
        return await asyncio.gather(*tasks)

    async def seen_by(self, tenant: str, job: Life) -> dict[str, Any]:
        """What a tenant sees of its jobs, and of this job in every way of asking for it."""
        async with self.jobs.database.connection() as connection:
            page = partial(listing.jobs, connection, tenant, kind=None, state=None, after=None, limit=1000)
            keyed = None if job.key is None else await submit.find_idempotent(connection, tenant, job.key)
            return {
                "jobs": [row["id"] for row in await page(parent=None)],
                "children": [row["id"] for row in await page(parent=job.id)],
                "it": await reading.job(connection, job.id, tenant) is not None,
                "key": None if keyed is None else keyed[0],
            }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Where the tables differ from the model."""
    rows, books = found["jobs"], wanted["jobs"]
    said = [] if rows.keys() == books.keys() else [f"jobs: {sorted(rows)}, not {sorted(books)}"]
    others = [what for what in found if what != "jobs" and found[what] != wanted[what]]
    return [
        *said,
        *(f"{what}: {found[what]}, not {wanted[what]}" for what in others),
        *(
            f"{name} of {id}: {rows[id][name]!r}, not {books[id][name]!r}"
            for id in rows.keys() & books.keys()
            for name in rows[id]
            if rows[id][name] != books[id][name]
        ),
    ]
