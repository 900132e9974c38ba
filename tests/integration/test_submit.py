"""A job comes in: its row and message in one statement, and once for each idempotency key."""

import asyncio
from datetime import timedelta

import pytest
from asyncpg import DeadlockDetectedError, PostgresError

from infra.postgres.queries import submit
from tests.integration.jobs import Jobs, new_job


async def test_a_submitted_job_is_queued_and_has_one_message(jobs: Jobs) -> None:
    [job_id] = await jobs.submit(kind="indexing", stage="plan", lane="bulk", traceparent="00-a-b-01")
    row = await jobs.row(job_id)
    assert (row["state"], row["epoch"], row["attempt"], row["waiting"]) == ("queued", 0, 0, False)
    [message] = await jobs.fetch("SELECT * FROM outbox")
    told = {name: message[name] for name in ("job_id", "kind", "stage", "lane", "epoch", "traceparent")}
    assert told == {
        "job_id": job_id,
        "kind": "indexing",
        "stage": "plan",
        "lane": "bulk",
        "epoch": 0,
        "traceparent": "00-a-b-01",
    }


async def test_a_refused_statement_leaves_neither_row_nor_message(jobs: Jobs) -> None:
    with pytest.raises(PostgresError):
        await jobs.make(new_job(), new_job(input="not json"))
    assert await jobs.fetch("SELECT id FROM job") == []
    assert await jobs.fetch("SELECT id FROM outbox") == []


async def test_expiry_is_set_by_the_database_clock(jobs: Jobs) -> None:
    [made] = await jobs.make(new_job(expires_in_s=60.0))
    assert made is not None
    assert made.expires_at is not None
    assert made.expires_at - made.created_at == timedelta(seconds=60)


async def test_a_repeated_key_makes_no_second_job(jobs: Jobs) -> None:
    first = new_job(idempotency_key="k", fingerprint=b"body")
    [made] = await jobs.make(first)
    assert made is not None
    assert await jobs.make(new_job(idempotency_key="k", fingerprint=b"other")) == [None]
    async with jobs.database.connection() as connection:
        assert await submit.find_idempotent(connection, "default", "k") == (first.id, b"body")
        assert await submit.find_idempotent(connection, "another", "k") is None
    assert len(await jobs.fetch("SELECT id FROM outbox")) == 1


async def test_a_key_repeated_within_one_group_makes_one_job(jobs: Jobs) -> None:
    group = [new_job(idempotency_key="k"), new_job(), new_job(idempotency_key="k"), new_job(idempotency_key="other")]
    made = await jobs.make(*group)
    assert [m is not None for m in made] == [True, True, False, True]
    assert len(await jobs.fetch("SELECT id FROM outbox")) == 3


async def test_tenants_share_no_keys(jobs: Jobs) -> None:
    assert None not in await jobs.make(new_job(idempotency_key="k"), new_job(idempotency_key="k", tenant="another"))


async def test_a_key_submitted_on_many_connections_at_once_makes_one_job(jobs: Jobs) -> None:
    answers = await asyncio.gather(*(jobs.make(new_job(idempotency_key="k")) for _ in range(16)))
    assert sum(made is not None for [made] in answers) == 1
    assert len(await jobs.fetch("SELECT id FROM job")) == 1
    assert len(await jobs.fetch("SELECT id FROM outbox")) == 1


async def test_a_key_waits_for_the_transaction_that_holds_it(jobs: Jobs) -> None:
    async with jobs.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await submit.submit(connection, [new_job(idempotency_key="k")])
        second = asyncio.create_task(jobs.make(new_job(idempotency_key="k")))
        await jobs.until_blocked(1)
        await transaction.rollback()
    assert await second != [None]


async def test_groups_that_share_keys_in_any_order_do_not_deadlock(jobs: Jobs) -> None:
    keys = [f"k{n}" for n in range(2_000)]
    for turn in range(5):
        groups = [
            [new_job(idempotency_key=f"{turn}{key}") for key in order] for order in (keys, keys[::-1], keys, keys[::-1])
        ]
        try:
            made = await asyncio.gather(*(jobs.make(*group) for group in groups))
        except DeadlockDetectedError as error:
            raise AssertionError("two groups waited for each other's keys") from error
        assert sum(m is not None for group in made for m in group) == len(keys)
