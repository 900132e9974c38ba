"""Dead letters in Postgres: who sees them, what requeuing one makes, and that two requeues make one job."""

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import uuid_utils.compat as uuids

from infra.postgres.queries import dead_letters
from infra.postgres.queries.dead_letters import Unreadable, Wanted
from producers.dispatcher import Dispatcher
from schemas.kinds.registry import KINDS
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs, new_job

S = JobState
ERROR = json.dumps({"code": "engine_overloaded", "message": "a NUL: \x00", "retryable": True})
FIRST = {kind.name: kind.first_stage for kind in KINDS.values()}


async def die(jobs: Jobs, job_id: UUID) -> UUID:
    """End a queued job as out of attempts; returns its letter."""
    [row] = await jobs.claim(job_id)
    moved = await jobs.finish(job_id, row.epoch, S.FAILED, error=ERROR, code="engine_overloaded", dead=True)
    assert moved is not None
    [letter] = await jobs.fetch("SELECT id FROM dead_letter WHERE job_id = $1", job_id)
    found: UUID = letter["id"]
    return found


async def dead_job(jobs: Jobs, **changes: Any) -> tuple[UUID, UUID]:
    """A job that ran out of attempts, and its letter."""
    [job_id] = await jobs.submit(**changes)
    return job_id, await die(jobs, job_id)


async def requeue(
    jobs: Jobs, letter: UUID, tenant: str = "default", first_stages: dict[str, str] = FIRST
) -> asyncpg.Record | None:
    async with jobs.database.connection() as connection:
        return await dead_letters.requeue_job(
            connection, letter, tenant, job_id=uuids.uuid7(), first_stages=first_stages, traceparent=None
        )


async def seen(
    jobs: Jobs, tenant: str = "default", *, operator: bool = False, requeued: bool = False, **wanted: str
) -> list[UUID]:
    async with jobs.database.connection() as connection:
        rows = await dead_letters.letters(
            connection, tenant, operator=operator, wanted=Wanted(**wanted), requeued=requeued, after=None, limit=100
        )
    return [row["id"] for row in rows]


async def marks(jobs: Jobs) -> dict[UUID, UUID | None]:
    """The job as which each letter was requeued."""
    return {row["id"]: row["requeued_as"] for row in await jobs.fetch("SELECT id, requeued_as FROM dead_letter")}


def message(payload: bytes = b"\x00\xff", **changes: Any) -> Unreadable:
    made = Unreadable(
        "welip.noop.run.interactive", 0, 7, payload, hashlib.sha256(payload).digest(), "unreadable_message",
        json.dumps({"code": "unreadable_message", "message": "\x00", "retryable": False}),
    )  # fmt: skip
    return replace(made, **changes)


async def keep(jobs: Jobs, *messages: Unreadable) -> int:
    async with jobs.database.connection() as connection:
        return await dead_letters.keep(connection, messages)


async def test_a_requeued_job_is_a_new_one_that_does_the_same(jobs: Jobs) -> None:
    webhook = json.dumps({"url": "https://r.example/in", "origin": "https://r.example", "events": ["job.failed"]})
    job_id, letter = await dead_job(
        jobs, kind="inference", stage="retrieve", lane="bulk", input='{"question": "\\u0000?"}', metadata='{"a": "b"}',
        max_attempts=7, timeout_s=2.5, expires_in_s=60.0, idempotency_key="once", fingerprint=b"f", webhook=webhook,
    )  # fmt: skip
    await jobs.fetch("UPDATE job SET stage = 'generate' WHERE id = $1", job_id)  # where it died
    made = await requeue(jobs, letter)
    assert made is not None
    old, new = await jobs.rows([job_id, made["id"]])
    for name in ("tenant", "kind", "lane", "input", "metadata", "max_attempts", "timeout_s", "webhook"):
        assert old[name] == new[name], name
    assert (new["state"], new["stage"], new["attempt"], new["epoch"]) == ("queued", "retrieve", 0, 0)
    assert (new["idempotency_key"], new["expires_at"], new["parent"], new["error"]) == (None, None, None, None)
    assert old["state"] == "failed"
    assert await jobs.messages(made["id"]) == []  # bulk work, which is held until its turn
    assert await Dispatcher(jobs.database, lambda: None, window=1).round() == 1
    assert await jobs.messages(made["id"]) == [("retrieve", 0)]
    assert await marks(jobs) == {letter: made["id"]}
    assert made["letters"] == 1
    assert await seen(jobs) == []
    assert await seen(jobs, requeued=True) == [letter]


async def test_a_letter_is_requeued_once(jobs: Jobs) -> None:
    _, letter = await dead_job(jobs)
    first = await requeue(jobs, letter)
    assert first is not None
    assert await requeue(jobs, letter) is None
    assert await marks(jobs) == {letter: first["id"]}


async def test_the_letters_of_all_children_of_a_job_are_covered_by_its_copy(jobs: Jobs) -> None:
    root, [one, two, fine] = await jobs.parent(3)
    [row] = await jobs.claim(fine)
    [grandchild] = await jobs.fan_out(fine, row.epoch, 1)
    deepest = await die(jobs, grandchild)
    await jobs.resume(fine)
    await jobs.end(fine)
    letters = [await die(jobs, one), await die(jobs, two), deepest]
    _, other = await dead_job(jobs)
    assert await requeue(jobs, letters[0]) is None, "the submitted job has not ended"
    await jobs.resume(root)
    await jobs.end(root)
    made = await requeue(jobs, letters[2])
    assert made is not None
    assert made["letters"] == 3
    assert await marks(jobs) == {**dict.fromkeys(letters, made["id"]), other: None}
    old, new = await jobs.rows([root, made["id"]])
    assert (new["input"], new["stage"], new["parent"]) == (old["input"], "run", None)
    assert await jobs.fetch("SELECT id FROM job WHERE parent = $1", made["id"]) == []
    assert await requeue(jobs, letters[0]) is None


async def test_while_the_submitted_job_lives_the_reason_can_be_told(jobs: Jobs) -> None:
    root, [child, _] = await jobs.parent(2)
    letter = await die(jobs, child)
    assert await requeue(jobs, letter) is None
    async with jobs.database.connection() as connection:
        found = await dead_letters.root(connection, letter, "default")
        assert found is not None
        assert (found["id"], found["state"]) == (root, "running")
        assert await dead_letters.root(connection, letter, "another") is None
    await jobs.cancel(root)
    assert await requeue(jobs, letter) is not None


async def test_a_kind_that_is_gone_is_not_requeued(jobs: Jobs) -> None:
    _, letter = await dead_job(jobs)
    assert await requeue(jobs, letter, first_stages={"inference": "retrieve"}) is None
    assert await marks(jobs) == {letter: None}


async def test_two_who_requeue_two_children_of_one_job_make_one_job(jobs: Jobs) -> None:
    root, children = await jobs.parent(6)
    letters = [await die(jobs, child) for child in children]
    await jobs.resume(root)
    await jobs.end(root)
    before = len(await jobs.fetch("SELECT id FROM job"))
    async with jobs.database.unit_of_work() as held:
        await held.execute("SELECT id FROM job WHERE id = $1 FOR UPDATE", root)
        asked = [asyncio.create_task(requeue(jobs, letter)) for letter in letters]
        await jobs.until_blocked(len(letters))
    [made] = [found for found in await asyncio.gather(*asked) if found is not None]
    assert made["letters"] == len(letters)
    assert await marks(jobs) == dict.fromkeys(letters, made["id"])
    assert len(await jobs.fetch("SELECT id FROM job")) == before + 1
    assert await jobs.messages(made["id"]) == [("run", 0)]


async def test_two_who_requeue_and_drop_one_letter_end_with_one_job_at_most(jobs: Jobs) -> None:
    job_id, letter = await dead_job(jobs)
    async with jobs.database.unit_of_work() as held:
        await dead_letters.drop(held, [letter], "default", operator=False)
        asked = asyncio.create_task(requeue(jobs, letter))
        await jobs.until_blocked(1)
    assert await asked is None
    assert [row["id"] for row in await jobs.fetch("SELECT id FROM job")] == [job_id]


async def test_nothing_of_another_tenant_is_seen_requeued_or_dropped(jobs: Jobs) -> None:
    _, mine = await dead_job(jobs, tenant="a")
    await keep(jobs, message())
    for operator in (False, True):
        assert await seen(jobs, "a") == [mine]
        assert mine not in await seen(jobs, "b", operator=operator)
        async with jobs.database.connection() as connection:
            assert await dead_letters.letter(connection, mine, "b", operator=operator) is None
            assert await dead_letters.drop(connection, [mine], "b", operator=operator) == 0
    assert await requeue(jobs, mine, "b") is None
    assert await marks(jobs) == dict.fromkeys(await seen(jobs, "a", operator=True))


async def test_letters_of_messages_are_for_operators(jobs: Jobs) -> None:
    await keep(jobs, message())
    assert await seen(jobs) == []
    [letter] = await seen(jobs, operator=True)
    async with jobs.database.connection() as connection:
        assert await dead_letters.letter(connection, letter, "default", operator=False) is None
        assert await dead_letters.drop(connection, [letter], "default", operator=False) == 0
        found = await dead_letters.letter(connection, letter, "default", operator=True)
        assert found is not None
        assert (found["payload"], found["bytes"], found["input"]) == (b"\x00\xff", 2, None)
        assert await dead_letters.drop(connection, [letter], "another", operator=True) == 1
    assert await seen(jobs, operator=True) == []


async def test_a_repeated_message_is_one_letter(jobs: Jobs) -> None:
    assert await keep(jobs, message(), message(), message(offset=8)) == 2
    assert await keep(jobs, message(), message(b"other bytes at the same place, as after a lost topic")) == 1
    large = b"\x00" * 1024 * 1024
    assert await keep(jobs, message(large), message(b"")) == 2
    sizes = [row["bytes"] for row in await jobs.fetch("SELECT octet_length(payload) AS bytes FROM dead_letter")]
    assert max(sizes) == len(large)


async def test_lists_are_filtered_and_counted(jobs: Jobs) -> None:
    _, one = await dead_job(jobs)
    _, two = await dead_job(jobs, kind="inference", stage="retrieve")
    await jobs.fetch("UPDATE dead_letter SET reason = 'timeout' WHERE id = $1", two)
    await keep(jobs, message())
    [unread] = await seen(jobs, operator=True, source="message")
    assert await seen(jobs, operator=True) == [unread, two, one]
    assert await seen(jobs, source="job") == [two, one]
    assert await seen(jobs, kind="inference") == [two]
    assert await seen(jobs, reason="timeout") == [two]
    assert await seen(jobs, reason="timeout", kind="noop") == []
    async with jobs.database.connection() as connection:
        page = await dead_letters.letters(
            connection, "default", operator=True, wanted=Wanted(), requeued=False, after=two, limit=100
        )
        assert [row["id"] for row in page] == [one]
        assert await dead_letters.waiting(connection) == {"job": 2, "message": 1}
        assert await requeue(jobs, one) is not None
        assert await dead_letters.waiting(connection) == {"job": 1, "message": 1}


async def test_a_dropped_letter_leaves_its_job_failed(jobs: Jobs) -> None:
    job_id, letter = await dead_job(jobs)
    async with jobs.database.connection() as connection:
        assert await dead_letters.drop(connection, [letter, uuid4()], "default", operator=False) == 1
    assert (await jobs.row(job_id))["state"] == "failed"
    assert await marks(jobs) == {}


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_a_message_of_a_newer_version_summons_its_job_once_if_it_is_queued(jobs: Jobs, state: str) -> None:
    job = new_job(tenant="someone", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    await jobs.make(job)
    if state == "running":
        await jobs.claim(job.id)
    await jobs.fetch("DELETE FROM outbox")
    await keep(jobs, message())
    [letter] = await seen(jobs, operator=True)
    for expected in (state == "queued", False):
        async with jobs.database.connection() as connection:
            assert await dead_letters.requeue_message(connection, letter, job.id) is expected
    assert await jobs.messages(job.id) == ([("run", 0)] if state == "queued" else [])
    assert await marks(jobs) == {letter: job.id if state == "queued" else None}
