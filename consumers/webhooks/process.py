"""A worker process of the pool `webhook` alone: it needs Postgres and a way out, but no Kafka or storage."""

import structlog
from prometheus_client import start_http_server

from consumers.liveness import LoopWatch
from consumers.webhooks.deliverer import Deliverer
from infra.postgres.database import Database
from infra.process import stopped_by_signal
from infra.settings import PostgresSettings, WebhookSettings, WorkerSettings
from schemas.topics import Pool

log = structlog.get_logger(__name__)

ENDS_WITHIN_S = 30
"""After the drain."""


async def deliver(*, postgres: PostgresSettings, worker: WorkerSettings, webhook: WebhookSettings) -> None:
    """Run until SIGTERM or SIGINT; attempts under way then have `drain` to end."""
    database = Database(postgres, application="welip-webhook")
    if worker.metrics_port is not None:
        start_http_server(worker.metrics_port, addr=worker.metrics_host)
    await database.open_patiently()
    deliverer = Deliverer(database, webhook)
    watch = LoopWatch(worker.stuck.total_seconds())
    try:
        watch.start()
        log.info("worker.started", pools=[Pool.WEBHOOK.value], concurrency=webhook.concurrency)
        drain_s = worker.drain.total_seconds()
        try:
            await stopped_by_signal(deliverer.run(), ends_within_s=drain_s + ENDS_WITHIN_S)
        finally:
            log.info("worker.draining", jobs=0)
            await deliverer.drain(drain_s)
        log.info("worker.stopped")
    finally:
        watch.stop()
        await database.close()
