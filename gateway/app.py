"""The application: services made once, routes, and what surrounds every request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.util import find_spec

import structlog
from fastapi import FastAPI

from gateway.batches import routes as batches
from gateway.batches import steering as batch_steering
from gateway.collections import routes as collections
from gateway.collections.workers import Searches
from gateway.dead import routes as dead
from gateway.files import routes as files
from gateway.health import routes as health
from gateway.http import openapi, problems
from gateway.http.auth import Keys
from gateway.http.heads import HeadAsGet
from gateway.http.limits import Limits
from gateway.http.local import LocalOnly
from gateway.http.middleware import BodyLimit, Measured
from gateway.http.reads import Reads
from gateway.jobs import routes as jobs
from gateway.jobs import steering as job_steering
from gateway.jobs.ending import Endings
from gateway.jobs.feed import Feed
from gateway.jobs.overflow import Overflow
from gateway.jobs.submit import Submitter
from gateway.models import alias_routes
from gateway.models import routes as model_routes
from gateway.pages import routes as pages
from gateway.services import Services
from gateway.uploads import routes as uploads
from gateway.webhooks import deliveries, endpoints
from gateway.webhooks.receivers import Receivers
from infra.blobs.open import open_blobs
from infra.kafka.broker import kafka_broker
from infra.patience import patiently
from infra.postgres.aliases import PostgresAliases
from infra.postgres.database import Database
from infra.postgres.queries.submit import STRAIGHT
from infra.prompts.reader import read_prompts
from infra.registering import Registrar
from infra.settings import (
    BlobsSettings,
    GatewaySettings,
    KafkaSettings,
    LimitSettings,
    MlflowSettings,
    PostgresSettings,
    PromptSettings,
    RelaySettings,
    RescueSettings,
    RetentionSettings,
    WebhookSettings,
)
from producers.agents import Agents
from producers.retention import Retention
from producers.tracking import TrackingSender
from schemas.models import WITHOUT_MODELS, Models
from schemas.version import version

log = structlog.get_logger(__name__)

DESCRIPTION = """Asynchronous jobs for language-model work, Korean first: **indexing** documents and **inference**
(retrieve, answer with citations). Submit and poll, wait (`Prefer: wait=N`), or follow events. Accepted jobs are never
lost."""


def create_app(
    *,
    gateway: GatewaySettings,
    postgres: PostgresSettings,
    kafka: KafkaSettings,
    blobs: BlobsSettings,
    relay: RelaySettings,
    rescue: RescueSettings,
    webhook: WebhookSettings,
    retention: RetentionSettings | None = None,
    limit: LimitSettings | None = None,
    mlflow: MlflowSettings | None = None,
    models: Models = WITHOUT_MODELS,
    prompts: PromptSettings | None = None,
) -> FastAPI:
    """The gateway. It serves at once; until Postgres answers it says 503, until Kafka answers the outbox keeps jobs.

    Without `retention` nothing is removed, without `limit` nobody is limited, without `mlflow` no figures are sent.
    """
    database = Database(postgres, application="welip-gateway")
    broker = kafka_broker(kafka, client_id="welip-gateway")
    storage = open_blobs(blobs)
    keep = Retention(database, storage, retention) if retention is not None else None
    sender = TrackingSender.of(database, storage, mlflow) if mlflow is not None else None
    agents = Agents(
        database, broker, kafka=kafka, relay=relay, rescue=rescue, retention=keep, sender=sender, models=models
    )
    limits = Limits(database, limit or LimitSettings(rate=0, waiting=0))
    endings = Endings(database)
    feed = Feed(database)
    receivers = Receivers(database, webhook)
    registrar = Registrar(database, storage, limits, models)
    searches = Searches(database)
    wake = agents.wake if gateway.agents else _nobody

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # In the background: the gateway answers at once and says what is away.
        opening = [
            asyncio.create_task(database.open_patiently()),
            asyncio.create_task(patiently(storage.check, event="blobs.away")),
            asyncio.create_task(limits.run()),
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
            await feed.close()
            await registrar.close()
            await searches.close()
            await database.close()
            await storage.close()
            log.info("gateway.stopped")

    app = FastAPI(
        title="WeLIP",
        version=version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat any host that the client named, without TLS. So /v1/jobs/ is 404.
        redirect_slashes=False,
    )
    app.state.services = Services(
        settings=gateway,
        database=database,
        broker=broker,
        agents=agents if gateway.agents else None,
        blobs=storage,
        models=models,
        submitter=Submitter(
            database,
            wake,
            receivers,
            models,
            read_prompts(prompts or PromptSettings()),
            ragas=gateway.ragas == "on" or (gateway.ragas == "auto" and find_spec("ragas") is not None),
            straight=0 if relay.tenant_at_once or relay.model_at_once else STRAIGHT,  # limits hold for all
            # Without authentication there is one tenant, and nobody to make room for.
            overflow=Overflow(database, limit.interactive) if limit and gateway.auth == "on" else None,
        ),
        receivers=receivers,
        endings=endings,
        feed=feed,
        keys=Keys(database, gateway),
        limits=limits,
        reads=Reads(database),
        registrar=registrar,
        searches=searches,
        aliases=PostgresAliases(database, models),
    )
    for module in (
        jobs,  # with collections first: routes are tried in this order, and submissions and searches are frequent
        collections,
        job_steering,
        files,
        uploads,
        batches,
        batch_steering,
        alias_routes,
        model_routes,
        deliveries,
        endpoints,
        dead,
        health,
        pages,
    ):
        # Not `include_router`, which would match every request a second time, against a tree of routers.
        app.router.routes.extend(module.router.routes)
    pages.mount_assets(app)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyLimit, limit=gateway.max_body_bytes)
    if gateway.auth == "off":
        app.add_middleware(LocalOnly)
    app.add_middleware(Measured)
    return app


def _nobody(*, bulk: bool = False) -> None:
    """Another process relays; its poll finds the outbox's rows."""
