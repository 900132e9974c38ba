"""From a job's end to its receivers: signed so that a library we did not write accepts it, replayed, and dropped."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from standardwebhooks import WebhookVerificationError

from infra.postgres.keys import create_key
from producers.client.async_ import AsyncClient
from producers.client.webhook_models import LoggedDelivery
from tests.e2e.processes import Up
from tests.receivers import Receiver, Request, ok, status
from tests.waiting import PATIENCE_S


@pytest.fixture
async def client(guarded: Up, database_of_guarded: str) -> AsyncIterator[AsyncClient]:
    """A tenant for this test alone."""
    key = await asyncio.to_thread(create_key, database_of_guarded, f"tenant-{uuid4().hex}", "")
    async with AsyncClient(guarded.url, key) as connected:
        yield connected


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver(ok) as listening:
        yield listening


async def came(receiver: Receiver, count: int) -> list[Request]:
    """The requests, as soon as `count` have come; a stack that just started on a busy machine takes a while."""
    return await receiver.until(count, within_s=PATIENCE_S)


async def ended(client: AsyncClient, id: str) -> LoggedDelivery:
    """The delivery, once it is over."""
    async with asyncio.timeout(PATIENCE_S):
        while (found := await client.webhooks.delivery(id)).state == "pending":
            await asyncio.sleep(0.03)
    return found


def believes(request: Request, secret: str) -> bool:
    try:
        request.verified(secret)
    except WebhookVerificationError:
        return False
    return True


async def test_a_job_s_end_reaches_the_endpoint_and_the_job_s_own_receiver(
    client: AsyncClient, receiver: Receiver
) -> None:
    secret = (await client.webhooks.make_secret()).secret
    async with Receiver(ok) as own:
        endpoint = await client.webhooks.create(receiver.url, events=["job.succeeded"])
        job = await client.submit("noop", {}, webhook={"url": own.url})
        [told], [own_told] = await came(receiver, 1), await came(own, 1)
        for request, signed_with, other in ((told, endpoint.secret, secret), (own_told, secret, endpoint.secret)):
            body = request.verified(signed_with)
            assert not believes(request, other)
            assert body["type"] == "job.succeeded"
            assert abs(datetime.fromisoformat(body["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=1)
            assert {name: body["data"][name] for name in ("id", "kind", "state")} == {
                "id": job.id,
                "kind": "noop",
                "state": "succeeded",
            }
            assert body["data"]["links"]["result"].endswith(f"/v1/jobs/{job.id}/result")
        listed = [delivery async for delivery in client.webhooks.iterate_deliveries(job=job.id)]
        assert {delivery.id for delivery in listed} == {told.id, own_told.id}
        for delivery in listed:
            over = await ended(client, delivery.id)
            assert (over.state, over.attempts, over.type) == ("delivered", 1, "job.succeeded")
            [attempt] = over.log
            assert (attempt.attempt, attempt.status, attempt.error, attempt.answer) == (1, 200, None, "thanks")
        cancelled = await client.submit("noop", {"sleep_s": 600}, webhook={"url": own.url})
        await client.cancel(cancelled.id)
        last = (await came(own, 2))[1].verified(secret)
        assert (last["type"], last["data"]["id"]) == ("job.cancelled", cancelled.id)
        assert len(receiver.requests) == 1  # it asked only for successes


async def test_while_secrets_overlap_receivers_with_either_believe_and_then_only_with_the_new_one(
    client: AsyncClient, receiver: Receiver
) -> None:
    endpoint = await client.webhooks.create(receiver.url)
    second = await client.webhooks.rotate(endpoint.id, 60)
    await client.webhooks.send_test(endpoint.id)
    [both] = await came(receiver, 1)
    assert believes(both, endpoint.secret)
    assert believes(both, second.secret)
    third = await client.webhooks.rotate(endpoint.id, 0)
    await client.webhooks.send_test(endpoint.id)
    after = (await came(receiver, 2))[1]
    assert [believes(after, one.secret) for one in (endpoint, second, third)] == [False, False, True]


async def test_the_secret_of_jobs_own_receivers_overlaps_too(client: AsyncClient, receiver: Receiver) -> None:
    first = await client.webhooks.make_secret()
    second = await client.webhooks.make_secret(60)
    await client.submit("noop", {}, webhook={"url": receiver.url})
    [both] = await came(receiver, 1)
    assert believes(both, first.secret)
    assert believes(both, second.secret)


async def test_a_former_secret_signs_no_more_when_its_time_is_over(client: AsyncClient, receiver: Receiver) -> None:
    endpoint = await client.webhooks.create(receiver.url)
    second = await client.webhooks.rotate(endpoint.id, 1)
    async with asyncio.timeout(PATIENCE_S):
        while (await client.webhooks.endpoint(endpoint.id)).previous_until is not None:
            await asyncio.sleep(0.05)
    await client.webhooks.send_test(endpoint.id)
    [request] = await came(receiver, 1)
    assert [believes(request, one.secret) for one in (endpoint, second)] == [False, True]


async def test_what_a_gone_endpoint_missed_is_replayed_under_the_same_id(
    client: AsyncClient, receiver: Receiver
) -> None:
    receiver.answer = status(410)
    endpoint = await client.webhooks.create(receiver.url)
    job = await client.submit("noop", {})
    [first] = await came(receiver, 1)
    over = await ended(client, first.id)
    assert (over.state, over.job, [attempt.status for attempt in over.log]) == ("failed", job.id, [410])
    disabled = await client.webhooks.endpoint(endpoint.id)
    assert (disabled.enabled, disabled.disabled_reason) == (False, "gone")

    receiver.answer = ok
    assert (await client.webhooks.enable(endpoint.id)).enabled
    replayed = await client.webhooks.replay_failed(endpoint.id, datetime.now(UTC) - timedelta(hours=1))
    assert (replayed.replayed, replayed.has_more) == (1, False)
    again = (await came(receiver, 2))[1]
    assert again.id == first.id
    assert again.body == first.body
    assert again.verified(endpoint.secret)["data"]["id"] == job.id
    over = await ended(client, first.id)
    assert (over.state, over.attempts, [attempt.status for attempt in over.log]) == ("delivered", 1, [410, 200])

    await client.webhooks.replay(first.id)
    assert (await came(receiver, 3))[2].id == first.id
    over = await ended(client, first.id)
    assert (over.state, [(one.attempt, one.status) for one in over.log]) == (
        "delivered",
        [(1, 410), (2, 200), (3, 200)],
    )


async def test_a_pending_delivery_is_sent_at_once_when_it_is_replayed(client: AsyncClient, receiver: Receiver) -> None:
    receiver.answer = status(500)
    endpoint = await client.webhooks.create(receiver.url)
    sent = await client.webhooks.send_test(endpoint.id)
    await came(receiver, 1)
    async with asyncio.timeout(PATIENCE_S):
        while not (waiting := await client.webhooks.delivery(sent.id)).log:
            await asyncio.sleep(0.03)
    assert (waiting.state, waiting.log[0].status, waiting.ended_at) == ("pending", 500, None)
    assert waiting.due_at is not None
    receiver.answer = ok
    assert (await client.webhooks.replay(sent.id)).attempts == 0
    await came(receiver, len(waiting.log) + 1)
    assert set(receiver.ids) == {sent.id}
    over = await ended(client, sent.id)
    assert (over.state, over.attempts, over.log[-1].status) == ("delivered", 1, 200)


async def test_a_removed_or_disabled_endpoint_is_told_nothing_more(client: AsyncClient, receiver: Receiver) -> None:
    removed, disabled, kept = [await client.webhooks.create(receiver.url) for _ in range(3)]
    await client.webhooks.remove(removed.id)
    await client.webhooks.disable(disabled.id)
    job = await client.submit("noop", {}, wait_s=30)
    assert job.state == "succeeded"
    [delivery] = (await client.webhooks.deliveries(job=job.id)).data
    assert delivery.endpoint == kept.id
    assert (await ended(client, delivery.id)).state == "delivered"
    assert receiver.ids == [delivery.id]


async def test_an_endpoint_that_moves_gets_what_waits_for_it(client: AsyncClient, receiver: Receiver) -> None:
    async with Receiver(status(500)) as former:
        endpoint = await client.webhooks.create(former.url)
        sent = await client.webhooks.send_test(endpoint.id)
        await came(former, 1)
        await client.webhooks.change(endpoint.id, url=receiver.url)
        [request] = await came(receiver, 1)  # the second attempt is due after 5 s
    assert request.id == sent.id
    assert json.loads(request.body)["type"] == "webhook.test"
    assert len((await ended(client, sent.id)).log) == 2
