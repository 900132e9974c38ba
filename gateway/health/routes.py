"""Liveness, readiness by dependency, and metrics."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Container, Sequence
from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.http.answers import json
from gateway.http.rows import Row
from gateway.services import Services, ServicesDep
from infra.metrics import DEAD_LETTERS, HELD, OUTBOX, OUTBOX_AGE, QUEUE_AGE, QUEUED, RUNNING, TRACKING
from infra.postgres.queries import dead_letters, doubts, outbox, reading, tracking
from schemas.dead_letters import Source
from schemas.errors import DependencyUnavailable
from schemas.kinds.registry import routes
from schemas.topics import topic_name

router = APIRouter(tags=["health"])

FRESH_S: Final = 2.0
"""Queue depths are read from Postgres at most this often, however many scrapers there are."""


@router.get(
    "/healthz",
    summary="Liveness",
    responses={503: {"description": "Relay or rescuer ended or hangs: this process must be started again."}},
)
async def alive(services: ServicesDep) -> Response:
    """200 while the process answers and its agents make their rounds."""
    if services.agents is not None and (services.agents.ended or services.agents.silent):
        return json({"status": "stuck"}, 503)
    return json({"status": "ok"})


@router.get(
    "/readyz",
    summary="Readiness by dependency",
    responses={503: {"description": "Postgres is away: nothing can be accepted."}},
)
async def ready(services: ServicesDep) -> Response:
    """Which dependencies answer. Without Kafka or storage jobs are still accepted and kept: `degraded`, but 200."""
    postgres, kafka, blobs = await asyncio.gather(_postgres(services), _kafka(services), _blobs(services))
    found = {"postgres": postgres, "kafka": kafka, "blobs": blobs}
    if postgres == "ok":
        found["indexes"] = await _indexes(services)
    status = "unavailable" if postgres != "ok" else "ok" if set(found.values()) <= {"ok", "not used"} else "degraded"
    headers = {"Retry-After": "2"} if postgres != "ok" else None
    return json({"status": status, "dependencies": found}, 200 if postgres == "ok" else 503, headers)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    """Prometheus metrics of this process, and the queues' depth and age."""
    await _Queues.refresh(services)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _postgres(services: Services) -> str:
    try:
        await asyncio.wait_for(services.database.check(), 3)
    except (DependencyUnavailable, TimeoutError) as error:
        return f"away: {error}"
    return "ok"


async def _kafka(services: Services) -> str:
    if not services.settings.agents:
        return "not used"  # the relay is a separate process
    try:
        answered = await services.broker.ping(timeout=3)
    except Exception as error:  # noqa: BLE001 - whatever aiokafka raises, Kafka does not answer
        return f"away: {error!r}"
    return "ok" if answered else "away"


async def _blobs(services: Services) -> str:
    try:
        await asyncio.wait_for(services.blobs.check(), 8)
    except (DependencyUnavailable, TimeoutError) as error:
        return f"away: {error}"
    return "ok"


async def _indexes(services: Services) -> str:
    try:
        async with services.database.connection() as connection:
            doubted = await doubts.doubted(connection)
    except DependencyUnavailable as error:
        return f"not known: {error}"
    return f"{doubted} collections wait for a rebuild: `doubt` in GET /v1/collections" if doubted else "ok"


class _Queues:
    """Depth and age of every topic's queue, as gauges."""

    _read_at = float("-inf")

    @classmethod
    async def refresh(cls, services: Services) -> None:
        now = time.monotonic()
        if now - cls._read_at < FRESH_S:
            return
        cls._read_at = now
        try:
            async with services.database.connection() as connection:
                queued, running = await reading.queues(connection), await reading.running(connection)
                backlog = await outbox.backlog(connection)
                letters = await dead_letters.waiting(connection)
                tracked = await tracking.depth(connection)
        except DependencyUnavailable:
            return  # the gauges keep their last values; /readyz says that Postgres is away
        topics = {route.topic: route for route in routes(services.models)}
        waiting, held = _by_topic(queued, topics), _by_topic(running, topics)
        for topic, route in topics.items():
            labels = (topic, route.lane.value)
            QUEUED.labels(*labels).set(sum(row["jobs"] for row in waiting[topic]))
            HELD.labels(*labels).set(sum(row["held"] for row in waiting[topic]))
            QUEUE_AGE.labels(*labels).set(max((row["age_s"] for row in waiting[topic]), default=0))
            RUNNING.labels(*labels).set(sum(row["jobs"] for row in held[topic]))
        OUTBOX.set(backlog["messages"])
        OUTBOX_AGE.set(backlog["age_s"])
        for state, entries in tracked.items():
            TRACKING.labels(state).set(entries)
        for source in Source:
            DEAD_LETTERS.labels(source.value).set(letters.get(source.value, 0))


def _by_topic(rows: Sequence[Row], topics: Container[str]) -> dict[str, list[Row]]:
    """Rows by the topic that their jobs travel on; jobs of a model that is gone by that without a model's name."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        topic = topic_name(row["kind"], row["stage"], row["lane"], row["model"])
        found[topic if topic in topics else topic_name(row["kind"], row["stage"], row["lane"])].append(row)
    return found
