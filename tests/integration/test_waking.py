"""What is written to the outbox leaves at once when its writer wakes the relay, however rarely that polls."""

import asyncio
from datetime import timedelta

from infra.kafka.broker import kafka_broker
from infra.kafka.embedded import EmbeddedBroker
from infra.postgres.database import Database
from infra.settings import KafkaSettings, RelaySettings
from producers.relay import Relay
from tests.integration.jobs import Jobs

LONG = timedelta(hours=1)


async def test_a_woken_relay_does_not_wait_for_its_poll(
    jobs: Jobs, database: Database, embedded_broker: EmbeddedBroker
) -> None:
    kafka = KafkaSettings(url=embedded_broker.url, embedded=True)
    broker = kafka_broker(kafka, client_id="relay")
    await broker.start()
    relay = Relay(database, broker, RelaySettings(poll=LONG), kafka)
    running = asyncio.create_task(relay.run())
    try:
        async with asyncio.timeout(60):
            for _ in range(3):  # each time, the relay has gone back to sleep for an hour
                await jobs.submit(1)
                relay.wake()
                while await jobs.fetch("SELECT id FROM outbox"):
                    pass  # the round trip to Postgres is the pause
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await broker.stop()
