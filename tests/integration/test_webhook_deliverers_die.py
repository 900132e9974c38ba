"""Deliverers that die, that are late, and several of them: every delivery is sent, and its end recorded once."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter

import pytest
from prometheus_client import REGISTRY

from infra.postgres.database import Database
from infra.postgres.queries import deliveries
from infra.postgres.queries.deliveries import Attempt
from infra.settings import PostgresSettings
from infra.webhooks.signing import new_secret
from schemas.webhooks import DeliveryState
from tests.integration.deliveries import LEASE_S, claim, due_in_s, outgoing
from tests.integration.outgoing import Outgoing
from tests.receivers import Receiver, Request, ok, silent, status

__all__ = ["outgoing"]


async def test_what_a_deliverer_took_and_never_recorded_is_sent_again(outgoing: Outgoing) -> None:
    async with Receiver(ok) as receiver:
        await outgoing.endpoint(receiver.url)
        await outgoing.end_a_job()
        [id] = await claim(outgoing)
        async with outgoing.deliverer():
            await outgoing.many(await outgoing.endpoint(receiver.url), 1)
            await receiver.until(1)
            assert id not in receiver.ids  # the lease still holds
            await outgoing.hasten()
            await receiver.until(2)
            await outgoing.until_state("delivered", 2)
    assert receiver.ids.count(id) == 1
    assert (await outgoing.row(id))["attempts"] == 2


async def test_a_kill_between_the_request_and_its_record_resends_under_the_same_id(
    outgoing: Outgoing, postgres: PostgresSettings
) -> None:
    """With a process of the pool `webhook`, which gets neither Kafka nor storage."""
    environment = os.environ | {
        "WELIP_POSTGRES_URL": postgres.url.get_secret_value(),
        "WELIP_KAFKA_URL": "127.0.0.1:1",
        "WELIP_BLOBS_URL": "s3+http://127.0.0.1:1/none",
        "WELIP_WEBHOOK_ALLOW": "127.0.0.1",
        "WELIP_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "consumers", "--pool", "webhook"]
    secret = new_secret()
    async with Receiver(silent) as receiver:
        await outgoing.endpoint(receiver.url, secret=secret)
        await outgoing.end_a_job()
        doomed = await asyncio.create_subprocess_exec(*command, env=environment)
        [first] = await receiver.until(1)
        doomed.kill()
        assert await doomed.wait() == -signal.SIGKILL
        assert await outgoing.log(first.id) == []
        assert await due_in_s(outgoing, first.id) > 0
        receiver.answer = ok
        await outgoing.hasten()  # its lease has ended
        heir = await asyncio.create_subprocess_exec(*command, env=environment)
        second = (await receiver.until(2))[1]
        await outgoing.until_state("delivered", 1)
        heir.terminate()
        assert await asyncio.wait_for(heir.wait(), 120) == 0
    assert (second.id, second.body) == (first.id, first.body)
    assert second.verified(secret)


async def test_two_side_by_side_never_send_one_delivery_twice(outgoing: Outgoing, postgres: PostgresSettings) -> None:
    other = Outgoing(Database(postgres, application="other"))
    await other.database.open()
    async with Receiver(ok) as receiver:
        for _ in range(20):
            await outgoing.many(await outgoing.endpoint(receiver.url), 25)
        async with outgoing.deliverer(), other.deliverer():
            await outgoing.until_state("delivered", 500)
    await other.database.close()
    assert Counter(Counter(receiver.ids).values()) == {1: 500}
    assert {row["attempts"] for row in await outgoing.rows()} == {1}


async def test_a_record_that_comes_too_late_changes_nothing_but_is_logged(outgoing: Outgoing) -> None:
    endpoint = await outgoing.endpoint("http://127.0.0.1:1/")
    await outgoing.end_a_job()

    async def taken() -> Attempt:
        async with outgoing.database.connection() as connection:
            [row] = await deliveries.claim(connection, rooms={}, room=4, limit=1, lease_s=LEASE_S)
        return Attempt(row["id"], row["lease_until"], DeliveryState.DELIVERED, 0.0, 200, None, "late", 5)

    late = await taken()
    await outgoing.hasten()
    present = await taken()
    async with outgoing.database.connection() as connection:
        [recorded] = await deliveries.record(connection, [late], lease_s=LEASE_S)
        assert not recorded.counted
        assert [row["state"] for row in await outgoing.rows()] == ["pending"]
        [recorded] = await deliveries.record(connection, [present], lease_s=LEASE_S)
        assert recorded.counted
        [recorded] = await deliveries.record(connection, [present], lease_s=LEASE_S)
        assert not recorded.counted
        await outgoing.jobs.fetch("DELETE FROM webhook_endpoint WHERE id = $1", endpoint)
        [recorded] = await deliveries.record(connection, [present], lease_s=LEASE_S)
        assert not recorded.counted


async def test_a_replay_while_an_attempt_is_under_way_is_not_ended_by_it(outgoing: Outgoing) -> None:
    """A replay starts counting attempts anew, so the lease is the fence, not the number."""
    await outgoing.endpoint("http://127.0.0.1:1/")
    await outgoing.end_a_job()
    async with outgoing.database.connection() as connection:
        [row] = await deliveries.claim(connection, rooms={}, room=4, limit=1, lease_s=LEASE_S)
        await outgoing.jobs.fetch("UPDATE webhook_delivery SET attempts = 0, due_at = now()")
        [again] = await deliveries.claim(connection, rooms={}, room=4, limit=1, lease_s=LEASE_S)
        assert row["attempts"] == again["attempts"] == 1
        made = [
            Attempt(one["id"], one["lease_until"], DeliveryState.PENDING, 5.0, 500, None, None, 5)
            for one in (row, again)
        ]
        [first] = await deliveries.record(connection, made[:1], lease_s=LEASE_S)
        [second] = await deliveries.record(connection, made[1:], lease_s=LEASE_S)
    assert (first.counted, second.counted) == (False, True)
    assert [entry["attempt"] for entry in await outgoing.log(f"evt_{row['id'].hex}")] == [1, 2]


async def test_a_stop_lets_attempts_under_way_end_and_be_recorded(outgoing: Outgoing) -> None:
    release = asyncio.Event()

    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await ok(request, writer)

    async with Receiver(slow) as receiver:
        await outgoing.endpoint(receiver.url)
        await outgoing.end_a_job()
        async with outgoing.deliverer():
            await receiver.until(1)
            asyncio.get_running_loop().call_later(0.2, release.set)
        [row] = await outgoing.rows()  # it has drained
    assert row["state"] == "delivered"


async def test_the_deliverer_keeps_trying_while_postgres_refuses(
    outgoing: Outgoing, postgres: PostgresSettings
) -> None:
    """Its connections are cut again and again; in the end what it sent is recorded, and nothing is lost."""
    mine = Outgoing(Database(postgres, application="cut"))
    await mine.database.open()
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cut'"
    async with Receiver(ok) as receiver:
        endpoint = await outgoing.endpoint(receiver.url)
        async with mine.deliverer():
            for round in range(1, 6):
                await outgoing.many(endpoint, 20)
                await outgoing.jobs.fetch(cut)
                await receiver.until(round)
                await outgoing.jobs.fetch(cut)

            async def all_told() -> bool:
                await outgoing.hasten()  # what a statement took whose answer was cut off waits for its lease to end
                return len(await outgoing.rows("state = 'delivered'")) == 100

            await outgoing.until(all_told)
    await mine.database.close()
    assert len(set(receiver.ids)) == 100


async def test_outcomes_are_counted_and_no_secret_or_url_is_logged(
    outgoing: Outgoing, capsys: pytest.CaptureFixture[str]
) -> None:
    def count(outcome: str) -> float:
        return REGISTRY.get_sample_value("welip_webhook_attempts_total", {"outcome": outcome}) or 0.0

    before = {outcome: count(outcome) for outcome in ("delivered", "retry", "failed")}
    secret = new_secret()
    async with Receiver(ok) as good, Receiver(status(500)) as bad, Receiver(status(410)) as gone:
        for receiver in (good, bad, gone):
            await outgoing.endpoint(receiver.url, secret=secret)
        async with outgoing.deliverer():
            await outgoing.end_a_job()
            await outgoing.until_state("delivered", 1)
            await outgoing.until_state("failed", 1)
            await bad.until(1)
    assert {outcome: count(outcome) - before[outcome] for outcome in before} == {
        "delivered": 1,
        "retry": 1,
        "failed": 1,
    }
    logged = "".join(capsys.readouterr())
    assert "webhook.delivered" in logged
    assert "webhook.endpoint_disabled" in logged
    for told in (secret, "of-the-receiver", json.dumps(secret)):
        assert told not in logged
