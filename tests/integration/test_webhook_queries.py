"""Owners manage webhooks in Postgres: each tenant its own, secrets overlap, deliveries are resent."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import uuid_utils.compat as uuids

from infra.postgres.database import Database
from infra.postgres.queries import webhooks
from schemas.webhooks import EVENTS, MAX_ENDPOINTS, REPLAY_AT_MOST
from tests.integration.jobs import Jobs

URL = "https://r.example/in"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def add(database: Database, tenant: str = "ours", secret: str = "whsec_1") -> UUID | None:
    async with database.unit_of_work() as connection:
        row = await webhooks.add_endpoint(
            connection, uuids.uuid7(), tenant, url=URL, description="", events=list(EVENTS), secret=secret
        )
    return None if row is None else row["id"]


@pytest.fixture
async def endpoint(database: Database) -> UUID:
    made = await add(database)
    assert made is not None
    return made


async def secrets(jobs: Jobs, endpoint: UUID) -> asyncpg.Record:
    [row] = await jobs.fetch(
        "SELECT secret, previous_secret, previous_until - now() AS rest FROM webhook_endpoint WHERE id = $1", endpoint
    )
    return row


async def deliver(jobs: Jobs, endpoint: UUID | None, state: str = "failed", **fields: Any) -> UUID:
    """A delivery of tenant `ours` that has had three attempts."""
    [row] = await jobs.fetch(
        "INSERT INTO webhook_delivery (tenant, endpoint, url, destination, type, data, state, attempts, due_at,"
        " created_at, ended_at) VALUES ('ours', $1, $2, $3, 'job.failed', '{}', $4, 3, now() + interval '1 h', $5,"
        " CASE WHEN $4 <> 'pending' THEN now() END) RETURNING id",
        endpoint, None if endpoint else URL, str(endpoint or "https://r.example"), state,
        fields.get("created_at", datetime.now(UTC)),
    )  # fmt: skip
    for attempt in (1, 2, 3):
        await jobs.fetch("INSERT INTO webhook_attempt (delivery, attempt, status, ms) VALUES ($1, $2, 500, 7)",
                         row["id"], attempt)  # fmt: skip
    made: UUID = row["id"]
    return made


async def standing(jobs: Jobs, delivery: UUID) -> tuple[str, int, bool, bool]:
    """The state, the attempts, whether it is due, and whether it has ended."""
    [row] = await jobs.fetch(
        "SELECT state, attempts, due_at <= clock_timestamp() AS due, ended_at IS NOT NULL AS ended"
        " FROM webhook_delivery WHERE id = $1",
        delivery,
    )
    return tuple(row)


async def test_a_tenant_has_at_most_so_many_endpoints_also_when_all_are_made_at_once(database: Database) -> None:
    made = await asyncio.gather(*(add(database) for _ in range(MAX_ENDPOINTS + 10)))
    assert sum(id is not None for id in made) == MAX_ENDPOINTS
    assert await add(database, tenant="theirs") is not None
    async with database.connection() as connection:
        kept = await webhooks.endpoints(connection, "ours")
        assert await webhooks.remove_endpoint(connection, kept[0]["id"], "ours")
    assert [row["id"] for row in kept] == sorted((id for id in made if id), reverse=True)
    assert await add(database) is not None


async def test_no_row_that_owners_see_holds_a_secret(jobs: Jobs, endpoint: UUID) -> None:
    async with jobs.database.connection() as connection:
        await webhooks.rotate(connection, endpoint, "ours", secret="whsec_2", overlap_s=60)
        rows = [
            await webhooks.endpoint(connection, endpoint, "ours"),
            *await webhooks.endpoints(connection, "ours"),
            await webhooks.change_endpoint(connection, endpoint, "ours", description="x"),
        ]
    assert len(rows) == 3
    for row in rows:
        assert row is not None
        assert "whsec_" not in str(dict(row))


async def test_nothing_is_done_to_what_another_tenant_has(jobs: Jobs, endpoint: UUID) -> None:
    delivery = await deliver(jobs, endpoint)
    async with jobs.database.connection() as connection:
        assert await webhooks.endpoint(connection, endpoint, "theirs") is None
        assert await webhooks.endpoints(connection, "theirs") == []
        assert await webhooks.change_endpoint(connection, endpoint, "theirs", enabled=False) is None
        assert await webhooks.rotate(connection, endpoint, "theirs", secret="x", overlap_s=0) is None
        assert not await webhooks.remove_endpoint(connection, endpoint, "theirs")
        assert await webhooks.send_test(connection, endpoint, "theirs") is None
        assert await webhooks.delivery(connection, delivery, "theirs") is None
        assert not await webhooks.replay(connection, delivery, "theirs")
        assert await webhooks.replay_failed(connection, endpoint, "theirs", LONG_AGO) == 0
        every = {"state": None, "after": None, "limit": 10}
        assert await webhooks.deliveries(connection, "theirs", job=None, **every) == []
        assert await webhooks.deliveries_of_endpoint(connection, "theirs", endpoint, **every) == []
        row = await webhooks.endpoint(connection, endpoint, "ours")
    assert row is not None
    assert row["disabled_at"] is None
    assert (await secrets(jobs, endpoint))["secret"] == "whsec_1"
    assert await standing(jobs, delivery) == ("failed", 3, False, True)


@pytest.mark.parametrize(("overlap_s", "former"), [(60.0, "whsec_1"), (0.0, None)])
async def test_a_former_secret_signs_as_long_as_it_is_told_to(
    jobs: Jobs, endpoint: UUID, overlap_s: float, former: str | None
) -> None:
    async with jobs.database.connection() as connection:
        row = await webhooks.rotate(connection, endpoint, "ours", secret="whsec_2", overlap_s=overlap_s)
    assert row is not None
    assert (row["previous_until"] is None) == (former is None)
    kept = await secrets(jobs, endpoint)
    assert (kept["secret"], kept["previous_secret"]) == ("whsec_2", former)
    assert former is None or timedelta(seconds=50) < kept["rest"] <= timedelta(seconds=60)


async def test_of_two_rotations_the_last_two_secrets_remain(jobs: Jobs, endpoint: UUID) -> None:
    async with jobs.database.connection() as connection:
        for secret in ("whsec_2", "whsec_3"):
            await webhooks.rotate(connection, endpoint, "ours", secret=secret, overlap_s=60)
    kept = await secrets(jobs, endpoint)
    assert (kept["secret"], kept["previous_secret"]) == ("whsec_3", "whsec_2")


async def test_a_tenant_s_own_secret_is_made_then_rotated(jobs: Jobs) -> None:
    async def kept() -> tuple[Any, ...]:
        [row] = await jobs.fetch(
            "SELECT webhook_secret, webhook_previous_secret,"
            " webhook_previous_until > now() FROM tenant WHERE id = 'new'"
        )
        return tuple(row)

    async with jobs.database.connection() as connection:
        assert not await webhooks.has_secret(connection, "new")
        assert await webhooks.rotate_tenants(connection, "new", secret="whsec_1", overlap_s=60) is None
        assert await kept() == ("whsec_1", None, None)
        assert await webhooks.has_secret(connection, "new")
        assert await webhooks.rotate_tenants(connection, "new", secret="whsec_2", overlap_s=60) is not None
        assert await kept() == ("whsec_2", "whsec_1", True)
        assert await webhooks.rotate_tenants(connection, "new", secret="whsec_3", overlap_s=0) is None
        assert await kept() == ("whsec_3", None, None)


async def test_enabling_forgives_and_disabling_keeps_the_first_reason(jobs: Jobs, endpoint: UUID) -> None:
    await jobs.fetch(
        "UPDATE webhook_endpoint SET failing_since = now() - interval '6 days', disabled_at = now() - interval '1 day',"
        " disabled_reason = 'failing' WHERE id = $1",
        endpoint,
    )

    async def change(enabled: bool | None) -> tuple[bool, bool, str | None]:
        async with jobs.database.connection() as connection:
            row = await webhooks.change_endpoint(connection, endpoint, "ours", enabled=enabled)
        assert row is not None
        assert (row["url"], row["events"]) == (URL, list(EVENTS))
        return row["failing_since"] is not None, row["disabled_at"] is not None, row["disabled_reason"]

    assert await change(None) == (True, True, "failing")
    assert await change(False) == (True, True, "failing")
    assert await change(True) == (False, False, None)
    assert await change(False) == (False, True, "owner")


@pytest.mark.parametrize("state", ["pending", "delivered", "failed"])
async def test_a_replay_begins_the_schedule_anew_and_keeps_the_log(jobs: Jobs, endpoint: UUID, state: str) -> None:
    for receiver in (endpoint, None):
        delivery = await deliver(jobs, receiver, state)
        async with jobs.database.connection() as connection:
            assert await webhooks.replay(connection, delivery, "ours")
            attempts = await webhooks.attempts(connection, delivery)
        assert await standing(jobs, delivery) == ("pending", 0, True, False)
        assert [row["attempt"] for row in attempts] == [1, 2, 3]


async def test_what_a_disabled_endpoint_did_not_take_is_not_replayed(jobs: Jobs, endpoint: UUID) -> None:
    delivery = await deliver(jobs, endpoint)
    async with jobs.database.connection() as connection:
        await webhooks.change_endpoint(connection, endpoint, "ours", enabled=False)
        assert not await webhooks.replay(connection, delivery, "ours")
        assert await webhooks.send_test(connection, endpoint, "ours") is None
    assert await standing(jobs, delivery) == ("failed", 3, False, True)


async def test_many_are_replayed_a_page_at_a_time_since_a_time(jobs: Jobs, endpoint: UUID) -> None:
    old = await deliver(jobs, endpoint, created_at=LONG_AGO)
    done = await deliver(jobs, endpoint, "delivered")
    other = await add(jobs.database)
    elsewhere = await deliver(jobs, other)
    await jobs.fetch(
        "INSERT INTO webhook_delivery (tenant, endpoint, destination, type, data, state)"
        " SELECT 'ours', $1::uuid, $1::uuid::text, 'job.failed', '{}', 'failed' FROM generate_series(1, $2)",
        endpoint, REPLAY_AT_MOST + 5,
    )  # fmt: skip
    since = LONG_AGO + timedelta(days=1)
    async with jobs.database.connection() as connection:
        counts = [await webhooks.replay_failed(connection, endpoint, "ours", since) for _ in range(3)]
    assert counts == [REPLAY_AT_MOST, 5, 0]
    assert [(await standing(jobs, id))[0] for id in (old, done, elsewhere)] == ["failed", "delivered", "failed"]


async def test_deliveries_are_listed_by_tenant_endpoint_job_and_state(jobs: Jobs, endpoint: UUID) -> None:
    first, second = await deliver(jobs, endpoint), await deliver(jobs, None, "pending")
    [job] = await jobs.submit(tenant="ours")
    await jobs.fetch("UPDATE webhook_delivery SET job_id = $1 WHERE id = $2", job, second)
    async with jobs.database.connection() as connection:

        async def listed(**wanted: Any) -> list[UUID]:
            fields = {"job": None, "state": None, "after": None, "limit": 10, **wanted}
            return [row["id"] for row in await webhooks.deliveries(connection, "ours", **fields)]

        assert await listed() == [second, first]
        assert await listed(state="failed") == [first]
        assert await listed(job=job) == [second]
        assert await listed(after=second) == [first]
        assert await listed(limit=1) == [second]
        of_endpoint = await webhooks.deliveries_of_endpoint(
            connection, "ours", endpoint, state=None, after=None, limit=10
        )
    assert [(row["id"], row["url"]) for row in of_endpoint] == [(first, URL)]


async def test_a_removed_endpoint_takes_its_deliveries_with_it(jobs: Jobs, endpoint: UUID) -> None:
    await deliver(jobs, endpoint)
    kept = await deliver(jobs, None)
    async with jobs.database.connection() as connection:
        assert await webhooks.remove_endpoint(connection, endpoint, "ours")
    assert [row["id"] for row in await jobs.fetch("SELECT id FROM webhook_delivery")] == [kept]
    assert {row["delivery"] for row in await jobs.fetch("SELECT delivery FROM webhook_attempt")} == {kept}


async def test_a_test_event_tells_of_no_job(jobs: Jobs, endpoint: UUID) -> None:
    async with jobs.database.connection() as connection:
        made = await webhooks.send_test(connection, endpoint, "ours")
        assert made is not None
        row = await webhooks.delivery(connection, made, "ours")
    assert row is not None
    assert (row["type"], row["state"], row["job_id"], row["url"]) == ("webhook.test", "pending", None, URL)
    assert json.loads(row["data"]) == {"id": f"wh_{endpoint.hex}"}
