"""Messages leave the outbox only when the broker has them."""

from datetime import timedelta

import pytest

from infra.kafka.broker import kafka_broker
from infra.kafka.embedded import EmbeddedBroker
from infra.postgres.database import Database
from infra.postgres.queries import outbox
from infra.settings import KafkaSettings, PostgresSettings, RelaySettings
from producers.relay import Relay
from schemas.errors import DependencyUnavailable
from tests.integration.jobs import Jobs

SETTINGS = RelaySettings(poll=timedelta(milliseconds=10), batch=10)


async def test_two_relays_take_different_messages_side_by_side(jobs: Jobs) -> None:
    await jobs.submit(15)
    async with jobs.database.unit_of_work() as one, jobs.database.unit_of_work() as two:
        first, second = await outbox.take(one, 10), await outbox.take(two, 10)
    assert (len(first), len(second)) == (10, 5)
    assert not {row["job_id"] for row in first} & {row["job_id"] for row in second}
    assert await jobs.fetch("SELECT id FROM outbox") == []


async def test_a_batch_keeps_its_size_when_the_planner_believes_the_outbox_to_be_tiny(jobs: Jobs) -> None:
    await jobs.submit(1)
    await jobs.fetch("ANALYZE outbox")
    await jobs.submit(9)
    async with jobs.database.unit_of_work() as connection:
        assert len(await outbox.take(connection, 4)) == 4


async def test_the_backlog_is_counted_and_aged(jobs: Jobs) -> None:
    await jobs.submit(3)
    await jobs.fetch("UPDATE outbox SET created_at = now() - interval '9 s' WHERE id = (SELECT min(id) FROM outbox)")
    async with jobs.database.connection() as connection:
        row = await outbox.backlog(connection)
    assert row["messages"] == 3
    assert 8 < row["age_s"] < 60


async def test_a_relay_that_dies_between_publish_and_commit_leaves_the_messages(
    jobs: Jobs, database_url: str, embedded_broker: EmbeddedBroker
) -> None:
    await jobs.submit(5)
    kafka = KafkaSettings(url=embedded_broker.url, embedded=True)
    doomed = Database(PostgresSettings.model_validate({"url": database_url}), application="doomed")
    await doomed.open()
    broker = kafka_broker(kafka, client_id="relay")
    await broker.start()
    try:
        relay = _KilledAfterPublish(doomed, broker, SETTINGS, kafka)
        relay.jobs = jobs
        with pytest.raises(DependencyUnavailable):
            await relay.relay_batch()
        assert relay.published == 5
        assert len(await jobs.fetch("SELECT id FROM outbox")) == 5
        assert await Relay(jobs.database, broker, SETTINGS, kafka).relay_batch() == 5
        assert await jobs.fetch("SELECT id FROM outbox") == []
    finally:
        await broker.stop()
        await doomed.close()


class _KilledAfterPublish(Relay):
    """A relay whose sessions end, like a killed process's, after its messages are out but before its commit."""

    jobs: Jobs
    published = 0

    async def _publish(self, rows: "list[object]") -> None:  # type: ignore[override]
        await super()._publish(rows)  # type: ignore[arg-type]
        self.published = len(rows)
        await self.jobs.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doomed'"
        )


async def test_a_batch_larger_than_a_produce_request_is_relayed(jobs: Jobs, embedded_broker: EmbeddedBroker) -> None:
    await jobs.submit(5_000)
    kafka = KafkaSettings(url=embedded_broker.url, embedded=True)
    broker = kafka_broker(kafka, client_id="relay")
    await broker.start()
    try:
        relay = Relay(jobs.database, broker, RelaySettings(batch=10_000), kafka)
        assert await relay.relay_batch() == 5_000
    finally:
        await broker.stop()
    assert await jobs.fetch("SELECT id FROM outbox") == []
