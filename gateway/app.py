"""The application: parts made once, routes, and what surrounds every request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog
from fastapi import FastAPI

from gateway import openapi, problems
from gateway.auth import Keys
from gateway.ending import Endings
from gateway.middleware import BodyLimit, Measured
from gateway.routes import collections, files, health, jobs, pages
from gateway.services import Services
from gateway.submit import Submitter
from infra.blobs.open import open_blobs
from infra.kafka.broker import kafka_broker
from infra.patience import patiently
from infra.postgres.database import Database
from infra.settings import (
    BlobsSettings,
    GatewaySettings,
    KafkaSettings,
    PostgresSettings,
    RelaySettings,
    RescueSettings,
)
from producers.agents import Agents

log = structlog.get_logger(__name__)

DESCRIPTION = """Asynchronous jobs for language-model work, Korean first: **indexing** documents and **inference**
(retrieve, answer with citations). Submit and poll, wait (`Prefer: wait=N`), or follow events. What was accepted is
never lost."""


def create_app(
    *,
    gateway: GatewaySettings,
    postgres: PostgresSettings,
    kafka: KafkaSettings,
    blobs: BlobsSettings,
    relay: RelaySettings,
    rescue: RescueSettings,
) -> FastAPI:
    """The gateway. It serves at once; until Postgres answers it says 503, until Kafka answers the outbox keeps jobs."""
    database = Database(postgres, application="welip-gateway")
    broker = kafka_broker(kafka, client_id="welip-gateway")
    agents = Agents(database, broker, kafka=kafka, relay=relay, rescue=rescue)
    endings = Endings(database)
    storage = open_blobs(blobs)
    wake = agents.relay.wake if gateway.agents else _nobody

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # In the background: the gateway answers at once, saying what is away.
        opening = [
            asyncio.create_task(database.open_patiently()),
            asyncio.create_task(patiently(storage.check, event="blobs.away")),
        ]
        try:
            async with agents if gateway.agents else contextlib.nullcontext():
                log.info("gateway.started", auth=gateway.auth, agents=gateway.agents)
                yield
        finally:
            for task in opening:
                task.cancel()
            await asyncio.gather(*opening, return_exceptions=True)
            await endings.close()
            await database.close()
            log.info("gateway.stopped")

    app = FastAPI(
        title="WeLIP",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = Services(
        settings=gateway,
        database=database,
        broker=broker,
        blobs=storage,
        submitter=Submitter(database, wake),
        endings=endings,
        keys=Keys(database, gateway),
    )
    for module in (jobs, files, collections, health, pages):
        # Not `include_router`, which would match every request a second time, against a tree of routers.
        app.router.routes.extend(module.router.routes)
    pages.mount_assets(app)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(BodyLimit, limit=gateway.max_body_bytes)
    app.add_middleware(Measured)
    return app


def _nobody() -> None:
    """Another process relays; its poll finds the outbox's rows."""
