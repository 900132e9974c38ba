"""Batches in Postgres: their windows, how they are closed, and how their lines come back."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from infra.postgres.batches import PAGE, PostgresBatches
from infra.postgres.queries import batches
from infra.postgres.queries.moves import Move, finish
from producers.rescue import PAGE as SWEPT
from producers.rescue import Rescuer
from schemas.lifecycle import JobState
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs

S = JobState
HOUR = 3600.0


async def begun(jobs: Jobs, lines: int, window_s: float = HOUR) -> tuple[UUID, list[UUID]]:
    """A batch whose lines are queued."""
    batch, epoch = await jobs.running(kind="batch", stage="check", expires_in_s=window_s)
    assert await PostgresBatches(jobs.database).begin(batch, lines, window_s)
    return batch, await jobs.fan_out(batch, epoch, lines, then="assemble")


async def sweep(jobs: Jobs) -> int:
    return await Rescuer(jobs.database, RESCUE, lambda: None).sweep()


async def events(jobs: Jobs, batch: UUID) -> list[str]:
    rows = await jobs.fetch("SELECT type FROM job_event WHERE job_id = $1 AND type <> 'state' ORDER BY id", batch)
    return [row["type"] for row in rows if row["type"] != "stage"]


async def close(jobs: Jobs, batch: UUID, tenant: str = "default") -> bool:
    async with jobs.database.connection() as connection:
        return await batches.close(connection, batch, tenant)


async def move_window(jobs: Jobs, batch: UUID, **to: timedelta) -> None:
    for column, by in to.items():
        await jobs.fetch(f"UPDATE batch SET {column} = now() + $2 WHERE job_id = $1", batch, by)


async def test_from_the_first_line_on_the_window_is_the_batchs_and_not_its_jobs(jobs: Jobs) -> None:
    batch, _ = await begun(jobs, 1)
    job = await jobs.row(batch)
    [row] = await jobs.fetch("SELECT * FROM batch")
    assert job["expires_at"] is None
    assert row["expires_at"] == job["created_at"] + timedelta(hours=1)
    assert row["due_at"] == job["created_at"] + timedelta(minutes=54)
    assert await PostgresBatches(jobs.database).begin(uuid4(), 1, HOUR) is False


async def test_a_repeated_check_finds_the_window_it_had(jobs: Jobs) -> None:
    batch, _ = await jobs.running(kind="batch", stage="check")
    port = PostgresBatches(jobs.database)
    assert await port.begin(batch, 1, HOUR)
    await move_window(jobs, batch, expires_at=timedelta(seconds=-1))
    assert await port.begin(batch, 1, HOUR) is False


async def test_an_owner_is_warned_once_and_then_the_batch_is_closed(jobs: Jobs) -> None:
    batch, lines = await begun(jobs, 2)
    assert (await sweep(jobs), await events(jobs, batch)) == (0, [])
    await move_window(jobs, batch, due_at=timedelta(0))
    assert (await sweep(jobs), await sweep(jobs)) == (1, 0)
    assert await events(jobs, batch) == ["warning"]
    assert await jobs.states(lines) == {"queued"}
    await move_window(jobs, batch, due_at=timedelta(0), expires_at=timedelta(0))
    await sweep(jobs)
    assert await events(jobs, batch) == ["warning", "closing"]
    assert await jobs.states(lines) == {"cancelled"}
    assert (await jobs.row(batch))["state"] == "queued"
    assert await PostgresBatches(jobs.database).finalize(batch) == "expired"


async def test_a_cancelled_batch_loses_its_lines_a_page_at_a_time_and_then_goes_on(jobs: Jobs) -> None:
    batch, lines = await begun(jobs, SWEPT + 1)
    [running] = await jobs.claim(lines[0])
    assert await close(jobs, batch)
    assert await close(jobs, batch), "it is being cancelled: once more is no error"
    assert await sweep(jobs) == SWEPT
    assert await sweep(jobs) == 1
    assert await jobs.states(lines) == {"running", "cancelled"}
    assert (await jobs.row(batch))["waiting"]
    await jobs.finish(lines[0], running.epoch, S.CANCELLED)
    assert await jobs.resume(batch) == 1
    assert await PostgresBatches(jobs.database).finalize(batch) == "cancelled"
    assert await events(jobs, batch) == ["closing"]
    assert await jobs.messages(batch) == [("check", 0), ("assemble", 2)]


async def test_a_batch_in_another_phase_or_of_another_tenant_is_not_closed(jobs: Jobs) -> None:
    batch, [line] = await begun(jobs, 1)
    assert not await close(jobs, batch, tenant="another")
    await jobs.end(line)
    await jobs.resume(batch)
    assert not await close(jobs, batch)
    await move_window(jobs, batch, due_at=timedelta(0), expires_at=timedelta(0))
    await sweep(jobs)
    assert await PostgresBatches(jobs.database).finalize(batch) is None


async def test_what_a_line_had_below_it_is_cancelled_with_it(jobs: Jobs) -> None:
    batch, [line] = await begun(jobs, 1)
    [row] = await jobs.claim(line)
    below = await jobs.fan_out(line, row.epoch, 2)
    await close(jobs, batch)
    await sweep(jobs)
    assert await jobs.states([line, *below]) == {"cancelled"}
    assert (await jobs.row(batch))["state"] == "queued"


@pytest.mark.parametrize("count", [0, PAGE, PAGE + 1])
async def test_lines_come_back_by_their_state_in_the_order_of_the_input(jobs: Jobs, count: int) -> None:
    batch, lines = await begun(jobs, count + 2)
    rows = await jobs.claim(*lines[:-1])
    moves = [Move(row.id, row.epoch, S.SUCCEEDED, result='{"n":1}') for row in rows[1:]]
    moves.append(Move(rows[0].id, rows[0].epoch, S.FAILED, error='{"code":"x"}', code="x"))
    async with jobs.database.connection() as connection:
        await finish(connection, moves, worker="w")
    port = PostgresBatches(jobs.database)
    found = [end async for end in port.ends(batch, S.SUCCEEDED, S.FAILED)]
    assert [end.custom_id for end in found] == [*(str(n) for n in range(1, count + 1)), "0"]
    assert {end.result for end in found[:-1]} <= {'{"n":1}'}
    assert found[-1].error == '{"code":"x"}'
    counted = await port.counts(batch, "default")
    assert counted == {S.QUEUED: 1, S.FAILED: 1} | ({S.SUCCEEDED: count} if count else {})
    assert await port.counts(batch, "another") == {}
    assert [child.key async for child in port.undone(batch, "default")] == ["0"]
    assert [child.key async for child in port.undone(batch, "another")] == []
