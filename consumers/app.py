"""A worker process: consumes the topics of its pools until it is told to stop, then drains."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import structlog
from prometheus_client import start_http_server

from consumers.bootstrap import AdapterSettings, open_ports
from consumers.completions import Completions
from consumers.executor import Executor
from consumers.heartbeat import Heartbeat
from consumers.held import HeldJobs
from consumers.liveness import ConsumerWatch, LoopWatch
from consumers.searches.answering import Answering
from consumers.searches.serving import SearchServing
from consumers.stages.ports import Ports
from consumers.stages.registry import needs_of
from consumers.subscriptions import Consumers, rooms_of, subscriptions
from consumers.transcripts import Transcripts
from consumers.webhooks.deliverer import Deliverer
from infra.kafka.broker import kafka_broker
from infra.kafka.members import client_id
from infra.postgres.database import Database
from infra.process import settle, stopped_by_signal
from infra.settings import (
    KafkaSettings,
    PostgresSettings,
    RelaySettings,
    SearchSettings,
    WebhookSettings,
    WorkerSettings,
)
from infra.worker_names import own_name
from producers.agents import Agents, connect_patiently
from schemas.errors import DependencyUnavailable
from schemas.kinds.registry import served
from schemas.models import ModelNotFound
from schemas.topics import Pool

log = structlog.get_logger(__name__)

ENDS_WITHIN_S: Final = 60
"""After the drain. Every step of the shutdown has its own limit; together they are below this one."""


async def work(
    pools: Sequence[Pool],
    *,
    postgres: PostgresSettings,
    kafka: KafkaSettings,
    relay: RelaySettings,
    worker: WorkerSettings,
    webhook: WebhookSettings,
    search: SearchSettings,
    adapters: AdapterSettings,
    models: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
) -> None:
    """Run until SIGTERM or SIGINT: then stop claiming, let stages finish for `drain`, hand the rest back.

    `models`: the models that this worker serves; None: all that the stages of its pools run. `kinds`: the only kinds
    whose stages it runs; None: any.

    Raises `ModelNotFound` for one that is not there, and `ConsumerStuck`, or another cause, after shutting down in the
    same order.
    """
    name = own_name()
    known = adapters.models
    for model in models or ():
        if model not in known.names():
            raise ModelNotFound(f"there is no model {model!r}; there are: {', '.join(known.names())}", field="--model")
    consumed = served(known, pools, models, kinds)
    serves = sorted({route.served_by for route in consumed if route.served_by is not None})
    needs = needs_of(consumed)
    # The reranker has no topics of its own: whoever runs that stage serves it.
    ranking = known.default("rerank") if Ports.reranker in needs else None
    lives_for = serves if ranking is None else sorted({*serves, ranking.name})
    async with AsyncExitStack() as exits:
        database = Database(postgres, application=client_id(name))
        exits.push_async_callback(database.close)
        opened = await exits.enter_async_context(
            open_ports(needs, database, adapters, pools, worker=name, serves=serves)
        )
        if worker.metrics_port is not None:
            start_http_server(worker.metrics_port, addr=worker.metrics_host)
        await database.open_patiently()
        if worker.warm:
            await exits.enter_async_context(_meanwhile(opened.warm()))
        for answer in opened.answers:
            await answer()
        if opened.restore_watch is not None:
            await opened.restore_watch.look()
        held = HeldJobs()
        heartbeat = Heartbeat(held, postgres, worker, worker_name=name, serves=lives_for)
        broker = kafka_broker(kafka, client_id=client_id(name))
        # The worker publishes what it hands on itself, woken at once. What it could not publish, the relays beside the
        # gateway find within their poll, so this one need not look often; rescue is theirs too.
        seldom = relay.model_copy(update={"poll": timedelta(seconds=1)})
        agents = Agents(database, broker, kafka=kafka, relay=seldom, rescue=None, connected=True, models=known)
        completions = Completions(database, agents.wake, worker=name)
        transcripts = Transcripts(database)
        executor = Executor(database, completions, held, opened.ports, transcripts, worker.outage, models=known)
        rooms = rooms_of(consumed, known, worker.concurrency, opened.rooms)
        consumers = Consumers(
            executor,
            subscriptions(consumed, embedded=kafka.embedded, rooms=rooms),
            rooms=rooms,
            kafka=kafka,
            worker=worker,
            worker_name=name,
            client_id=client_id(name),
        )
        deliverers = [Deliverer(database, webhook)] if Pool.WEBHOOK in pools else []
        searches: list[SearchServing] = []
        if search.direct and any((route.kind, route.stage) == ("inference", "retrieve") for route in consumed):
            answering = Answering(opened.ports, needs, at_once=worker.concurrency)
            searches.append(SearchServing(answering.answer, database, search, worker=name))
        stuck_s = worker.stuck.total_seconds()
        loop_watch = LoopWatch(stuck_s)
        exits.callback(loop_watch.stop)
        consumer_watch = ConsumerWatch(consumers.progress, kafka, client_id=client_id(name), stuck_s=stuck_s)
        await connect_patiently(broker, kafka, known)
        for one in searches:
            await one.start()
        heartbeat.start()
        loop_watch.start()
        settle()

        async def tell_when_joined() -> None:
            await consumers.all_joined.wait()
            log.info(
                "worker.started",
                worker=name,
                pools=[pool.value for pool in pools],
                models=lives_for,
                concurrency=worker.concurrency,
            )

        async with agents, _meanwhile(tell_when_joined()):
            try:
                await stopped_by_signal(
                    consumers.run(),
                    agents.join(),
                    consumer_watch.run(),
                    *(watch() for watch in opened.watches),
                    *([opened.restore_watch.run()] if opened.restore_watch is not None else []),
                    *(deliverer.run() for deliverer in deliverers),
                    *(one.run() for one in searches),
                    ends_within_s=worker.drain.total_seconds() + ENDS_WITHIN_S,
                )
            finally:
                log.info("worker.draining", jobs=len(held))
                for tell in opened.stopping:
                    tell()
                drain_s = worker.drain.total_seconds()
                await asyncio.gather(
                    consumers.drain(drain_s),
                    *(deliverer.drain(drain_s) for deliverer in deliverers),
                    *(one.drain(drain_s) for one in searches),
                )
                await completions.close()
                await transcripts.close()
                await _hand_on_the_rest(agents)
        heartbeat.stop()
    log.info("worker.stopped")


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run `work` while the block runs. What it raises is raised where a job needs it, not here."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _hand_on_the_rest(agents: Agents) -> None:
    """Publish the last stages' next messages, so that they need not wait for another relay."""
    with contextlib.suppress(DependencyUnavailable):
        while await agents.relay.relay_batch():
            pass
