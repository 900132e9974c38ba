"""Destinations of webhooks do not delay each other, however they misbehave."""

import asyncio
from collections import Counter
from datetime import timedelta

from infra.postgres.queries import deliveries
from tests.integration.deliveries import LEASE_S, outgoing
from tests.integration.outgoing import SETTINGS, Outgoing
from tests.receivers import Answer, Receiver, Request, drip, huge, ok, reset, silent, status

__all__ = ["outgoing"]


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
