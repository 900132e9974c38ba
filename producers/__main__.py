"""`welip relay`: relay and rescuer in a process of their own."""

import asyncio
import sys

import structlog

from infra.kafka.broker import kafka_broker
from infra.logging import configure_logging
from infra.postgres.database import Database
from infra.process import stopped_by_signal
from infra.settings import KafkaSettings, LogSettings, PostgresSettings, RelaySettings, RescueSettings
from producers.agents import Agents

log = structlog.get_logger(__name__)


async def serve() -> None:
    """Run until SIGTERM or SIGINT."""
    kafka = KafkaSettings()
    database = Database(PostgresSettings(), application="welip-relay")
    await database.open_patiently()
    broker = kafka_broker(kafka, client_id="welip-relay")
    agents = Agents(database, broker, kafka=kafka, relay=RelaySettings(), rescue=RescueSettings())
    try:
        async with agents:
            log.info("relay.started")
            await stopped_by_signal(agents.join())
    finally:
        await database.close()


def main() -> int:
    """The process."""
    configure_logging(LogSettings(), process="relay")
    asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
