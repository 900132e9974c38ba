"""Whatever happens to jobs in whatever order: only legal moves, none after the end, one end for each epoch."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import pytest

from infra.postgres.queries import reading
from producers.rescue import Rescuer
from schemas.lifecycle import MOVES, TERMINAL, JobState, may_move
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs

S = JobState
ENDS: Final = [state for state in S if state is not S.RUNNING]

REPORT: Final = """
CREATE TABLE moved (id int GENERATED ALWAYS AS IDENTITY, job_id uuid, old text, new text, old_epoch int, new_epoch int);
CREATE FUNCTION report_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO moved (job_id, old, new, old_epoch, new_epoch)
        VALUES (new.id, old.state, new.state, old.epoch, new.epoch);
    RETURN new;
END $$;
CREATE TRIGGER report_move AFTER UPDATE ON job FOR EACH ROW EXECUTE FUNCTION report_move();
"""


class Hand:
    """Does one random thing at a time to a few live jobs, and now and then to one that has ended."""

    def __init__(self, jobs: Jobs, seed: int) -> None:
        self.jobs = jobs
        self.dice = random.Random(seed)
        self.ids: list[UUID] = []
        self.claimed: list[tuple[UUID, int]] = []
        self.ended: list[tuple[UUID, int]] = []
        self.rescuer = Rescuer(jobs.database, RESCUE, lambda: None)
        self.acts: list[Callable[[UUID], Awaitable[None]]] = [
            *[self.claim] * 6,
            *[self.finish] * 6,
            *[self.sweep] * 3,
            self.fan_out,
            self.cancel,
            self.expire,
        ]

    async def act(self) -> None:
        await self.dice.choice(self.acts)(await self._pick())

    async def _pick(self) -> UUID:
        async with self.jobs.database.connection() as connection:
            over = await reading.ended(connection, self.ids)
        live = [job_id for job_id in self.ids if job_id not in over]
        if len(live) < 3:
            live += await self.jobs.submit(2, max_attempts=2)
            self.ids += live[-2:]
        return self.dice.choice(sorted(over) if over and self.dice.random() < 0.1 else live)

    async def claim(self, job_id: UUID) -> None:
        rows = await self.jobs.claim(job_id, lease_s=self.dice.choice([-1, 60]))
        self.claimed += [(row["id"], row["epoch"]) for row in rows]

    async def finish(self, job_id: UUID) -> None:
        lag = self.dice.choice([0, 0, 0, 1])
        epoch = (await self.jobs.row(job_id))["epoch"] - lag
        if await self.jobs.finish(job_id, epoch, self.dice.choice(ENDS)) is not None:
            self.ended.append((job_id, epoch))

    async def fan_out(self, job_id: UUID) -> None:
        epoch = (await self.jobs.row(job_id))["epoch"]
        if children := await self.jobs.fan_out(job_id, epoch, self.dice.randint(1, 2)):
            self.ended.append((job_id, epoch))
            self.ids += children

    async def cancel(self, job_id: UUID) -> None:
        _, parents = await self.jobs.cancel(job_id)
        await self.jobs.resume(*parents)

    async def expire(self, job_id: UUID) -> None:
        await self.jobs.fetch("UPDATE job SET expires_at = now() - interval '1 s' WHERE id = $1", job_id)

    async def sweep(self, job_id: UUID) -> None:
        await self.jobs.fetch("UPDATE job SET due_at = now() WHERE id = $1 AND state = 'retry_wait'", job_id)
        await self.rescuer.sweep()


@pytest.mark.parametrize("hands", [1, 4])
async def test_every_life_is_legal_and_every_legal_move_happens(jobs: Jobs, hands: int) -> None:
    async with jobs.database.connection() as connection:
        await connection.execute(REPORT)
    several = [Hand(jobs, seed) for seed in range(hands)]
    for hand in several[1:]:
        hand.ids = several[0].ids  # they fight over the same jobs
    for _ in range(1200 // hands):
        await asyncio.gather(*(hand.act() for hand in several))

    seen = set()
    # The hands' own way of letting time pass touches ended jobs too: what stays as it was is no move.
    for row in await jobs.fetch("SELECT * FROM moved WHERE old <> new OR old_epoch <> new_epoch"):
        old, new = S(row["old"]), S(row["new"])
        assert old is new or may_move(old, new), f"{old} -> {new}"
        assert row["new_epoch"] >= row["old_epoch"]
        seen.add((old, new))
    assert {(old, new) for old, ways in MOVES.items() for new in ways} == {(o, n) for o, n in seen if o is not n}

    claimed = [one for hand in several for one in hand.claimed]
    ended = [one for hand in several for one in hand.ended]
    assert len(claimed) == len(set(claimed))
    assert len(ended) == len(set(ended))
    assert set(ended) <= set(claimed)

    for row in await jobs.fetch("SELECT * FROM job"):
        assert (row["lease_until"] is not None) == (row["state"] == "running" and not row["waiting"])
        assert (row["finished_at"] is not None) == (row["state"] in TERMINAL)
        assert row["state"] == "running" or not row["waiting"]
    # A live job is never stranded: it is queued and has a message, it waits until a time, or someone will end its try.
    stranded = await jobs.fetch(
        "SELECT id FROM job j WHERE state = 'queued'"
        " AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = j.id AND o.epoch = j.epoch AND o.stage = j.stage)"
    )
    assert stranded == []
