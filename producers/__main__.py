"""`welip relay`: relay, rescuer, retention and the sender of figures in a separate process."""

import asyncio
import sys
from typing import Final

import structlog

from infra.blobs.open import open_blobs
from infra.kafka.broker import kafka_broker
from infra.logging import configure_logging
from infra.models import models_of_environment
from infra.postgres.database import Database
from infra.process import stopped_by_signal
from infra.settings import (
    BlobsSettings,
    KafkaSettings,
    LogSettings,
    MlflowSettings,
    PostgresSettings,
    RelaySettings,
    RescueSettings,
    RetentionSettings,
)
from producers.agents import Agents
from producers.retention import Retention
from producers.tracking import TrackingSender
from schemas.errors import JobError
from schemas.models import Models

log = structlog.get_logger(__name__)

ENDS_WITHIN_S: Final = 30


async def serve(models: Models) -> None:
    """Run until SIGTERM or SIGINT."""
    kafka = KafkaSettings()
    database = Database(PostgresSettings(), application="welip-relay")
    await database.open_patiently()
    broker = kafka_broker(kafka, client_id="welip-relay")
    blobs = open_blobs(BlobsSettings())
    agents = Agents(
        database,
        broker,
        kafka=kafka,
        relay=RelaySettings(),
        rescue=RescueSettings(),
        retention=Retention(database, blobs, RetentionSettings()),
        sender=TrackingSender.of(database, blobs, MlflowSettings()),
        models=models,
    )
    try:
        async with agents:
            log.info("relay.started")
            await stopped_by_signal(agents.join(), ends_within_s=ENDS_WITHIN_S)
    finally:
        await database.close()
        await blobs.close()


def main() -> int:
    """0 after a clean stop, 2 when the models file cannot be read."""
    configure_logging(LogSettings(), process="relay")
    try:
        models = models_of_environment()
    except JobError as error:
        log.error("relay.cannot_start", code=error.reason, error=error.message)
        return 2
    asyncio.run(serve(models))
    return 0


if __name__ == "__main__":
    sys.exit(main())
