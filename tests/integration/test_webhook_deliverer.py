"""Deliveries reach their receivers, whatever those do; a failed one is retried under the same id, or given up."""

from datetime import timedelta
from email.utils import formatdate
from time import time

import pytest

from consumers.webhooks.schedule import ATTEMPTS, JITTER, PAUSES_S
from infra.webhooks.signing import new_secret
from tests.integration.deliveries import due_in_s, outgoing
from tests.integration.outgoing import Outgoing
from tests.receivers import Answer, Receiver, drip, huge, ok, reset, silent, status

__all__ = ["outgoing"]


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
