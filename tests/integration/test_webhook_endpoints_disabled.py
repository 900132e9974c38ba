"""Endpoints that fail for days, say that they are gone, or are disabled or removed by their owner."""

import asyncio

import pytest

from tests.integration.deliveries import outgoing
from tests.integration.outgoing import SETTINGS, Outgoing
from tests.receivers import Receiver, Request, ok, status

__all__ = ["outgoing"]


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
