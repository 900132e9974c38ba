"""Deliveries reach their receivers, whatever those do; a failed one is retried under the same id, or given up."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from datetime import timedelta
from email.utils import formatdate
from time import time

import pytest
from prometheus_client import REGISTRY

from consumers.webhooks.deliverer import LEASE_MARGIN
from consumers.webhooks.schedule import ATTEMPTS, JITTER, PAUSES_S
from infra.postgres.database import Database
from infra.postgres.queries import deliveries
from infra.postgres.queries.deliveries import Attempt
from infra.settings import PostgresSettings
from infra.webhooks.signing import new_secret
from schemas.webhooks import DeliveryState
from tests.integration.outgoing import SETTINGS, Outgoing
from tests.receivers import Answer, Receiver, Request, drip, huge, ok, reset, silent, status

LEASE_S = (SETTINGS.timeout + LEASE_MARGIN).total_seconds()


@pytest.fixture
def outgoing(database: Database) -> Outgoing:
    return Outgoing(database)


async def claim(outgoing: Outgoing, limit: int = 10) -> list[str]:
    """Claim what is due, as a deliverer does that dies after it; returns the ids."""
    async with outgoing.database.connection() as connection:
        rows = await deliveries.claim(connection, rooms={}, room=4, limit=limit, lease_s=LEASE_S)
    return [f"evt_{row['id'].hex}" for row in rows]


async def due_in_s(outgoing: Outgoing, id: str) -> float:
    [row] = await outgoing.jobs.fetch(
        "SELECT extract(epoch FROM due_at - now())::float8 AS s FROM webhook_delivery WHERE id = $1",
        (await outgoing.row(id))["id"],
    )
    return float(row["s"])


# ---- what arrives ----


async def test_the_end_of_a_job_is_told_to_the_endpoint_and_to_the_jobs_own_receiver(outgoing: Outgoing) -> None:
    endpoints_secret, tenants_secret = new_secret(), await outgoing.tenants_secret()
    async with Receiver(ok) as mine, Receiver(ok) as own:
        await outgoing.endpoint(mine.url, secret=endpoints_secret)
        async with outgoing.deliverer():
            job_id = await outgoing.end_a_job_told_to(own.url)
            [one] = await mine.until(1)
            [other] = await own.until(1)
            rows = await outgoing.until_state("delivered", 2)
    for request, secret in ((one, endpoints_secret), (other, tenants_secret)):
        told = request.verified(secret)
        assert (told["type"], told["data"]["state"], told["data"]["kind"]) == ("job.succeeded", "succeeded", "noop")
        assert told["data"]["id"] == f"job_{job_id.hex}"
        assert told["data"]["links"]["result"] == f"https://welip.example/v1/jobs/job_{job_id.hex}/result"
        [row] = [row for row in rows if f"evt_{row['id'].hex}" == request.id]
        assert told["timestamp"] == f"{row['created_at']:%Y-%m-%dT%H:%M:%S}.{row['created_at'].microsecond // 1000:03}Z"
        assert row["ended_at"] is not None
        [attempt] = await outgoing.log(request.id)
        assert (attempt["attempt"], attempt["status"], attempt["error"], attempt["answer"]) == (1, 200, None, "thanks")
        assert row["created_at"] <= attempt["at"] <= row["ended_at"]


async def test_during_a_rotation_both_secrets_verify_and_afterwards_one(outgoing: Outgoing) -> None:
    new, old = new_secret(), new_secret()
    async with Receiver(ok) as receiver, outgoing.deliverer():
        await outgoing.endpoint(receiver.url, secret=new)
        rotate = "UPDATE webhook_endpoint SET previous_secret = $1, previous_until = now() + $2::interval"
        await outgoing.jobs.fetch(rotate, old, timedelta(hours=1))
        await outgoing.end_a_job()
        [during] = await receiver.until(1)
        await outgoing.jobs.fetch(rotate, old, timedelta(seconds=-1))
        await outgoing.end_a_job()
        after = (await receiver.until(2))[1]
    assert during.verified(new) == during.verified(old)
    assert after.verified(new)
    assert len(after.headers["webhook-signature"].split()) == 1


async def test_without_a_tenants_secret_nothing_is_sent_but_tried_again(outgoing: Outgoing) -> None:
    async with Receiver(ok) as receiver, outgoing.deliverer():
        await outgoing.end_a_job_told_to(receiver.url)

        async def tried() -> bool:
            [row] = await outgoing.rows()
            return bool(await outgoing.log(f"evt_{row['id'].hex}"))

        await outgoing.until(tried)
        assert receiver.connections == 0
        await outgoing.tenants_secret()
        await outgoing.hasten()
        await receiver.until(1)


# ---- what fails ----

FAILURES: dict[str, Answer] = {
    "500": status(500),
    "404": status(404),
    "301": status(301, "Location: http://127.0.0.1:1/"),
    "reset": reset,
    "silent": silent,
}


@pytest.mark.parametrize("how", FAILURES)
async def test_what_failed_is_sent_again_with_the_same_id_and_body(outgoing: Outgoing, how: str) -> None:
    secret = new_secret()
    async with Receiver(FAILURES[how]) as receiver:
        endpoint = await outgoing.endpoint(receiver.url, secret=secret)
        async with outgoing.deliverer(timeout=timedelta(seconds=0.5)):
            await outgoing.end_a_job()
            [first] = await receiver.until(1)

            async def recorded() -> bool:
                return bool(await outgoing.log(first.id))

            await outgoing.until(recorded)
            [tried] = await outgoing.log(first.id)
            pause = ((await outgoing.row(first.id))["due_at"] - tried["at"]).total_seconds()
            assert PAUSES_S[0] <= pause <= PAUSES_S[0] * (1 + JITTER) + 60  # and the attempt itself
            assert (await outgoing.endpoint_row(endpoint))["failing_since"] is not None
            receiver.answer = ok
            await outgoing.hasten()
            second = (await receiver.until(2))[1]
            [row] = await outgoing.until_state("delivered", 1)
    assert (second.id, second.body) == (first.id, first.body)
    assert second.verified(secret)
    assert row["attempts"] == 2
    assert [attempt["status"] for attempt in await outgoing.log(first.id)] == [int(how) if how.isdigit() else None, 200]
    assert (await outgoing.endpoint_row(endpoint))["failing_since"] is None


@pytest.mark.parametrize("behaviour", [drip, huge])
async def test_an_answer_without_an_end_is_an_answer(outgoing: Outgoing, behaviour: Answer) -> None:
    async with Receiver(behaviour) as receiver, outgoing.deliverer():
        await outgoing.endpoint(receiver.url)
        await outgoing.end_a_job()
        await outgoing.until_state("delivered", 1)
        assert len(receiver.requests) == 1


async def test_after_the_last_attempt_a_delivery_has_failed(outgoing: Outgoing) -> None:
    async with Receiver(status(500)) as receiver:
        await outgoing.endpoint(receiver.url)
        await outgoing.end_a_job()
        await outgoing.jobs.fetch("UPDATE webhook_delivery SET attempts = $1", ATTEMPTS - 2)
        async with outgoing.deliverer():
            [request] = await receiver.until(1)

            async def waits_for_the_last() -> bool:
                return await due_in_s(outgoing, request.id) > PAUSES_S[-1] - 5

            await outgoing.until(waits_for_the_last)
            await outgoing.hasten()
            [row] = await outgoing.until_state("failed", 1)
    assert (row["attempts"], len(receiver.requests)) == (ATTEMPTS, 2)
    assert row["ended_at"] is not None


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_receiver_is_left_alone_for_as_long_as_it_asks(outgoing: Outgoing, form: str) -> None:
    value = "7200" if form == "seconds" else formatdate(time() + 7200, usegmt=True)
    async with Receiver(status(429, f"Retry-After: {value}")) as receiver, outgoing.deliverer():
        await outgoing.endpoint(receiver.url)
        await outgoing.end_a_job()
        [request] = await receiver.until(1)

        async def recorded() -> bool:
            return bool(await outgoing.log(request.id))

        await outgoing.until(recorded)
        assert 7190 < await due_in_s(outgoing, request.id) <= 7200 * (1 + JITTER)


# ---- endpoints that are disabled ----


async def test_410_disables_the_endpoint_and_fails_what_waits_for_it(outgoing: Outgoing) -> None:
    async with Receiver(status(410)) as gone, Receiver(ok) as other:
        endpoint = await outgoing.endpoint(gone.url)
        await outgoing.many(endpoint, 2500)
        await outgoing.many(await outgoing.endpoint(other.url), 5)
        async with outgoing.deliverer():
            await other.until(5)
            await outgoing.until_state("failed", 2500)
        assert len(gone.requests) <= SETTINGS.per_destination
    row = await outgoing.endpoint_row(endpoint)
    assert (row["disabled_reason"], row["disabled_at"] is not None) == ("gone", True)
    await outgoing.end_a_job()
    assert await outgoing.rows("endpoint = $1 AND state = 'pending'", endpoint) == []


async def test_410_of_a_jobs_own_receiver_ends_that_delivery_alone(outgoing: Outgoing) -> None:
    await outgoing.tenants_secret()

    async def one_is_gone(request: Request, writer: asyncio.StreamWriter) -> None:
        await (status(410) if request.id == first else ok)(request, writer)

    async with Receiver(one_is_gone) as receiver:
        await outgoing.end_a_job_told_to(receiver.url)
        [row] = await outgoing.rows()
        first = f"evt_{row['id'].hex}"
        await outgoing.end_a_job_told_to(receiver.url)
        async with outgoing.deliverer():
            await outgoing.until_state("failed", 1)
            await outgoing.until_state("delivered", 1)
    assert len(await outgoing.log(first)) == 1


@pytest.mark.parametrize(("since", "disabled"), [("6 days", True), ("4 days", False)])
async def test_an_endpoint_that_fails_for_days_is_disabled(outgoing: Outgoing, since: str, disabled: bool) -> None:
    async with Receiver(status(500)) as receiver:
        endpoint = await outgoing.endpoint(receiver.url)
        await outgoing.jobs.fetch(f"UPDATE webhook_endpoint SET failing_since = now() - interval '{since}'")
        await outgoing.end_a_job()
        await outgoing.end_a_job()
        async with outgoing.deliverer(per_destination=1):
            [request] = await receiver.until(1)
            if disabled:
                await outgoing.until_state("failed", 2)
            else:

                async def recorded() -> bool:
                    return bool(await outgoing.log(request.id))

                await outgoing.until(recorded)
    row = await outgoing.endpoint_row(endpoint)
    assert row["disabled_reason"] == ("failing" if disabled else None)
    assert len(await outgoing.rows("state = 'failed'")) == (2 if disabled else 0)


async def test_a_success_forgives_what_failed_before(outgoing: Outgoing) -> None:
    async with Receiver(ok) as receiver, outgoing.deliverer():
        endpoint = await outgoing.endpoint(receiver.url)
        await outgoing.jobs.fetch("UPDATE webhook_endpoint SET failing_since = now() - interval '6 days'")
        await outgoing.end_a_job()
        await outgoing.until_state("delivered", 1)
    row = await outgoing.endpoint_row(endpoint)
    assert (row["failing_since"], row["disabled_at"]) == (None, None)


async def test_what_waits_for_an_endpoint_that_its_owner_disabled_is_kept(outgoing: Outgoing) -> None:
    async with Receiver(ok) as paused, Receiver(ok) as other, outgoing.deliverer():
        endpoint = await outgoing.endpoint(paused.url)
        await outgoing.jobs.fetch("UPDATE webhook_endpoint SET disabled_at = now(), disabled_reason = 'owner'")
        await outgoing.many(endpoint, 3)
        await outgoing.many(await outgoing.endpoint(other.url), 3)
        await outgoing.until_state("delivered", 3)
        assert paused.connections == 0
        await outgoing.jobs.fetch("UPDATE webhook_endpoint SET disabled_at = NULL, disabled_reason = NULL")
        await paused.until(3)


async def test_an_endpoint_can_be_removed_while_it_is_sent_to(outgoing: Outgoing) -> None:
    release = asyncio.Event()

    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await ok(request, writer)

    async with Receiver(slow) as receiver, Receiver(ok) as other, outgoing.deliverer():
        removed = await outgoing.endpoint(receiver.url)
        await outgoing.many(removed, 4)
        await receiver.until(4)
        await outgoing.jobs.fetch("DELETE FROM webhook_endpoint WHERE id = $1", removed)
        release.set()
        await outgoing.many(await outgoing.endpoint(other.url), 1)
        await outgoing.until_state("delivered", 1)
    assert len(await outgoing.rows()) == 1


# ---- destinations do not delay each other ----

MISBEHAVIOURS: dict[str, Answer] = {
    "silent": silent,
    "500": status(500),
    "410": status(410),
    "301": status(301, "Location: http://127.0.0.1:1/"),
    "resets": reset,
    "drips": drip,
    "huge": huge,
    "retry later": status(503, "Retry-After: 3600"),
}


async def test_receivers_that_misbehave_delay_no_other(outgoing: Outgoing) -> None:
    async with outgoing.deliverer(timeout=timedelta(minutes=10), concurrency=48):
        bad = {name: Receiver(behaviour) for name, behaviour in MISBEHAVIOURS.items()}
        for receiver in bad.values():
            await receiver.__aenter__()
            await outgoing.many(await outgoing.endpoint(receiver.url), 300)
        await asyncio.gather(*(receiver.until(1) for receiver in bad.values()))
        async with Receiver(ok) as good:
            endpoint = await outgoing.endpoint(good.url)
            await outgoing.many(endpoint, 100)
            requests = await good.until(100)  # the silent one is waited for ten minutes
        for receiver in bad.values():
            assert receiver.most_under_way <= SETTINGS.per_destination
            await receiver.__aexit__(None, None, None)
    assert len({request.id for request in requests}) == 100


async def test_one_that_fails_is_probed_one_at_a_time(outgoing: Outgoing) -> None:
    fails = asyncio.Event()

    async def failing(request: Request, writer: asyncio.StreamWriter) -> None:
        await fails.wait()
        await status(500)(request, writer)

    async with Receiver(failing) as receiver, outgoing.deliverer(timeout=timedelta(minutes=10)):
        await outgoing.many(await outgoing.endpoint(receiver.url), 50)
        await receiver.until(SETTINGS.per_destination)
        assert receiver.most_under_way == SETTINGS.per_destination
        fails.set()

        async def let_go() -> bool:
            return receiver.under_way == 0

        await outgoing.until(let_go)
        receiver.most_under_way = 0
        await receiver.until(len(receiver.requests) + 1)
        assert receiver.most_under_way == 1
        receiver.answer = ok
        await outgoing.until_state("delivered", 50)


async def test_a_destination_with_much_waiting_is_served_a_few_at_a_time(outgoing: Outgoing) -> None:
    """And the newest delivery, to another destination, does not wait behind the oldest."""
    deep, fresh = await outgoing.endpoint("http://127.0.0.1:1/"), await outgoing.endpoint("http://127.0.0.1:2/")
    await outgoing.many(deep, 1000)
    await outgoing.many(fresh, 1)
    async with outgoing.database.connection() as connection:
        first = await deliveries.claim(connection, rooms={}, room=4, limit=2, lease_s=LEASE_S)
        second = await deliveries.claim(connection, rooms={str(deep): 3}, room=4, limit=256, lease_s=LEASE_S)
        third = await deliveries.claim(connection, rooms={str(deep): 0}, room=4, limit=256, lease_s=LEASE_S)
        nothing = await deliveries.next_due(connection, without=[str(deep)])
        overdue = await deliveries.next_due(connection, without=[])
    assert Counter(row["destination"] for row in first) == {str(deep): 1, str(fresh): 1}
    assert Counter(row["destination"] for row in second) == {str(deep): 3}
    assert third == []
    assert nothing is not None
    assert nothing > LEASE_S - 5
    assert overdue is not None
    assert overdue < 0


async def test_taking_does_not_depend_on_how_much_waits(outgoing: Outgoing) -> None:
    endpoints = [await outgoing.endpoint("http://127.0.0.1:1/") for _ in range(3)]
    async with outgoing.database.connection() as connection:
        await connection.execute("ANALYZE webhook_delivery")  # the table is empty now
        await outgoing.many(endpoints[0], 50_000)
        for endpoint in endpoints[1:]:
            await outgoing.many(endpoint, 1)
        for statement, arguments in (
            (deliveries.CLAIM, [[], [], 4, 256, 30.0]),
            (deliveries.NEXT_DUE, [[]]),
            (deliveries.END_DISABLED, [1000]),
        ):
            plan = await connection.fetch(f"EXPLAIN {statement}", *arguments)
            reads = [row["QUERY PLAN"] for row in plan if "on webhook_delivery" in row["QUERY PLAN"]]
            assert reads
            assert not [line for line in reads if "Seq Scan" in line], reads
        rows = await deliveries.claim(connection, rooms={}, room=4, limit=256, lease_s=LEASE_S)
    assert sorted(Counter(row["destination"] for row in rows).values()) == [1, 1, 4]


# ---- deliverers that die, and several of them ----


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
