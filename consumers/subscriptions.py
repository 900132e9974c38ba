"""Consumes topics: each message is a summons; its job is claimed, and then the offset may be committed.

FastStream holds the connections and the subscribers; the loop is our own, because its batch handler pauses between
polls and its single-message handler costs more than a whole no-op job.
"""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from faststream.kafka import KafkaBroker
from faststream.kafka import TopicPartition as Partition

from consumers.claims import whole
from consumers.executor import Executor, Try
from consumers.held import Abort
from consumers.progress import Progress
from consumers.slots import Slots
from consumers.unreadable import keep, read
from infra.kafka.broker import consumer_settings
from infra.kafka.embedded import PARTITIONS, Pace
from infra.metrics import IN_FLIGHT, STALE
from infra.patience import patiently
from infra.postgres.queries import claim
from infra.postgres.queries.claim import Claimed
from infra.settings import KafkaSettings, WorkerSettings
from schemas.kinds.registry import Route
from schemas.messages import Summons
from schemas.models import Models
from schemas.topics import Lane

if TYPE_CHECKING:
    from faststream.kafka.subscriber.usecase import LogicSubscriber

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Topics of one lane that one consumer reads as one group.

    `ahead`: those of them whose messages go before the others', because they continue started jobs. `model`: the one
    that has slots of its own for them; None: they share the slots of the lane.
    """

    group: str
    topics: tuple[str, ...]
    lane: Lane
    ahead: frozenset[str] = frozenset()
    model: str | None = None


Room = Callable[[Lane], int]
"""How many jobs of a lane an engine in this process has room for now, those the worker holds included."""


def subscriptions(routes: Iterable[Route], *, embedded: bool, rooms: Collection[str]) -> list[Subscription]:
    """One group a topic, so that each topic's lag scales its own workers. `rooms`: models with slots of their own.

    The embedded broker serves one worker process, where nothing scales and every consumer costs idle polls: there one
    group a lane, and one for each lane of a model with slots of its own.
    """
    grouped: dict[tuple[Lane, str | None], list[Route]] = defaultdict(list)
    for route in routes:
        grouped[route.lane, route.served_by if route.served_by in rooms else None].append(route)
    if not embedded:
        return [
            Subscription(route.topic, (route.topic,), lane, model=model)
            for (lane, model), mine in grouped.items()
            for route in mine
        ]
    return [
        Subscription(
            f"welip.{lane}" if model is None else f"welip.{model}.{lane}",
            tuple(route.topic for route in mine),
            lane,
            frozenset(route.topic for route in mine if not route.begins),
            model,
        )
        for (lane, model), mine in grouped.items()
    ]


def rooms_of(
    routes: Iterable[Route], models: Models, concurrency: int, engines: Mapping[str, Room]
) -> dict[str, int | Room]:
    """How many jobs at once each of the models takes in each lane that has slots of its own, so that it waits for no
    other: each of several, one whose row says how many, and one whose engine is in this process and says so itself.
    """
    names = list(dict.fromkeys(route.served_by for route in routes if route.served_by is not None))
    limits = {row.name: row.limits.at_once for row in models if row.limits.at_once is not None}
    known: dict[str, int | Room] = {**limits, **engines}
    return {name: known.get(name, concurrency) for name in names if len(names) > 1 or name in known}


def _subscriber(broker: KafkaBroker, wanted: Subscription, kafka: KafkaSettings) -> "LogicSubscriber[Any]":
    made: LogicSubscriber[Any]
    given = consumer_settings(kafka)
    if kafka.embedded:
        # Assigned by ourselves, not joined: the embedded broker takes 3 s to let a first member into a group, and a
        # whole session timeout to let in one that follows another. Offsets are committed all the same.
        mine = [Partition(topic, n) for topic in wanted.topics for n in range(PARTITIONS)]
        made = broker.subscriber(partitions=mine, group_id=wanted.group, **given)
    else:
        made = broker.subscriber(*wanted.topics, group_id=wanted.group, **given)
    return made


class Consumers:
    """All subscriptions of one worker process."""

    def __init__(
        self,
        broker: KafkaBroker,
        executor: Executor,
        wanted: Sequence[Subscription],
        *,
        kafka: KafkaSettings,
        worker: WorkerSettings,
        worker_name: str,
        rooms: Mapping[str, int | Room] | None = None,
    ) -> None:
        self._executor = executor
        self._kafka = kafka
        self._lease = worker.lease.total_seconds()
        self._worker_name = worker_name
        shared = Slots(worker.concurrency)
        # Bulk waits for the interactive consumers' polls where it shares their slots.
        self._poll_ms = 100 if worker.shared_slots else 1_000
        sizes: dict[str | None, int | Room] = {None: worker.concurrency}
        sizes.update(rooms or {})
        self._slots = {
            (lane, model): shared
            if worker.shared_slots
            else Slots(size if isinstance(size, int) else partial(size, lane))
            for lane in Lane
            for model, size in sizes.items()
        }
        self.progress = {one: Progress(self._slots[one.lane, one.model]) for one in wanted}
        self._under_way: Counter[str] = Counter()
        """Stages by topic."""
        self._tries: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._subscribers = [
            (
                subscription,
                _subscriber(broker, subscription, kafka),
            )
            for subscription in wanted
        ]

    async def run(self) -> None:
        """Consume until cancelled. The broker must be started. Raises what ends a loop by a defect."""
        self._loops = [asyncio.create_task(self._consume(s, subscriber)) for s, subscriber in self._subscribers]
        try:
            await asyncio.gather(*self._loops)
        finally:
            await self._stop_claiming()

    async def drain(self, limit_s: float) -> None:
        """Let running stages finish for `limit_s` seconds, then hand the rest back; they lose no attempt."""
        await self._stop_claiming()
        await self._leave()
        if self._tries:
            await asyncio.wait(self._tries, timeout=limit_s)
        for job in self._executor.held.every():
            job.abort(Abort.STOPPING)
        if self._tries:
            await asyncio.wait(self._tries, timeout=10)

    async def _leave(self) -> None:
        """Leave the groups at once: the partitions of a draining member would be unread for the whole drain."""
        leaving = asyncio.gather(*(subscriber.stop() for _, subscriber in self._subscribers), return_exceptions=True)
        with contextlib.suppress(TimeoutError):  # aiokafka's stop may hang while the broker is down
            await asyncio.wait_for(leaving, 5)

    async def _stop_claiming(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _consume(self, subscription: Subscription, subscriber: "LogicSubscriber[Any]") -> None:
        consumer = subscriber.consumer
        assert consumer is not None
        slots = self._slots[subscription.lane, subscription.model]
        progress = self.progress[subscription]
        offsets = _Offsets(consumer)
        pace = Pace(consumer) if self._kafka.embedded else None
        resting: set[str] = set()
        try:
            while True:
                resting = self._rest(consumer, subscription, resting)
                if resting:
                    progress.held_up()
                try:
                    room = await slots.wait(last=subscription.lane is Lane.BULK)
                    polled = await self._poll(consumer, subscription, room)
                except KafkaError as error:
                    log.warning("consumer.away", group=subscription.group, error=repr(error))
                    await asyncio.sleep(1)
                    continue
                records = [record for batch in polled.values() for record in batch]
                if pace is not None:
                    pace.saw(len(records))
                if records:
                    with progress.claiming():
                        await self._claim(records, slots, subscription.lane)
                    passed = {tp: batch[-1].offset + 1 for tp, batch in polled.items() if batch}
                    progress.passed.update(passed)
                    offsets.passed(passed)
        finally:
            await offsets.close()

    async def _poll(
        self, consumer: Any, subscription: Subscription, most: int
    ) -> "dict[TopicPartition, list[ConsumerRecord[bytes | None, bytes | None]]]":
        """At most so many messages, by partition; waits up to a second for the first.

        What was begun goes first, or a fan-out would take all of its children through their first stage before one of
        them ends. It cannot keep the rest from its turn: each of its messages needs a stage before it that had one, and
        where it waits for something itself, a quarter of the slots is left to the rest.
        """
        if subscription.ahead:
            under_way = sum(self._under_way[topic] for topic in subscription.ahead)
            size = self._slots[subscription.lane, subscription.model].size
            ahead_first = under_way < max(1, size * 3 // 4)
            first = [one for one in consumer.assignment() if (one.topic in subscription.ahead) is ahead_first]
            if first and (polled := await consumer.getmany(*first, timeout_ms=0, max_records=most)):
                return polled  # type: ignore[no-any-return]
        return await consumer.getmany(timeout_ms=self._poll_ms, max_records=most)  # type: ignore[no-any-return]

    def _rest(self, consumer: Any, subscription: Subscription, before: set[str]) -> set[str]:
        """Pause the topics whose breaker is open, resume those whose breaker has closed; returns which rest now.

        Paused, not unpolled: a group throws a member out that does not poll. A rebalance forgets pauses, the next round
        sets them again.
        """
        resting = {topic for topic in subscription.topics if self._executor.breakers.is_open(topic)}
        if resting or before:
            consumer.pause(*(one for one in consumer.assignment() if one.topic in resting))
            consumer.resume(*(one for one in consumer.paused() if one.topic not in resting))
        return resting

    async def _claim(
        self, records: "Sequence[ConsumerRecord[bytes | None, bytes | None]]", slots: Slots, lane: Lane
    ) -> None:
        """Claim the summoned jobs, as slots come free: another consumer of the lane may have taken some.

        What cannot be read is kept after that, so that its neighbours do not wait for it.
        """
        summons, unreadable = read(records)
        while summons:
            group = summons[: await slots.wait(last=lane is Lane.BULK)]
            summons = summons[len(group) :]
            slots.take(len(group))
            await whole(self._claim_group(group, slots, lane))
        if unreadable:
            await keep(self._executor.database, unreadable)

    async def _claim_group(self, group: Sequence[Summons], slots: Slots, lane: Lane) -> None:
        """Claim, with a slot taken for each, and begin what was claimed."""
        asked = time.monotonic()
        rows = await self._claim_patiently(group)
        slots.give(len(group) - len(rows))
        if len(rows) < len(group):
            claimed = {row.id for row in rows}
            for one in group:
                if one.job_id not in claimed:
                    STALE.labels(one.kind).inc()
        self._start(rows, asked, slots, lane)

    def _start(self, rows: Sequence[Claimed], asked: float, slots: Slots, lane: Lane) -> None:
        """Begin the tries of claimed jobs, whose leases began when their claim was `asked` for, at the earliest."""
        gauge = IN_FLIGHT.labels(lane.value)

        def stage_over(topic: str) -> None:
            slots.give(1)
            self._under_way[topic] -= 1
            gauge.dec()

        gauge.inc(len(rows))
        for row in rows:
            one = Try(self._executor, row, asked + self._lease)
            self._under_way[one.topic] += 1
            task = asyncio.create_task(one.run(partial(stage_over, one.topic)))
            self._tries.add(task)
            task.add_done_callback(self._ended)

    async def _claim_patiently(self, summons: Sequence[Summons]) -> list[Claimed]:
        """Claim; while Postgres is away hold the messages and keep trying: their offsets are not committed."""

        async def once() -> list[Claimed]:
            async with self._executor.database.connection() as connection:
                return await claim.claim(
                    connection,
                    [(s.job_id, s.epoch, s.stage) for s in summons],
                    worker=self._worker_name,
                    lease_s=self._lease,
                )

        return await patiently(once, event="claim.away", first_s=0.1, longest_s=2)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tries.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # The job is safe: its lease ends and the rescuer takes it.
            log.error("try.defect", exc_info=task.exception())


class _Offsets:
    """Commits what was passed, a few times a second, out of the way of the next poll: repeating a summons is cheap."""

    PAUSE_S = 0.25

    def __init__(self, consumer: "object") -> None:
        self._consumer = consumer
        self._passed: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None

    def passed(self, offsets: dict[TopicPartition, int]) -> None:
        """These offsets may be committed: what came before them is claimed, or was stale."""
        self._passed.update(offsets)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit_soon())

    async def close(self) -> None:
        """Commit what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._commit(), 3)

    async def _commit_soon(self) -> None:
        while self._passed:  # including what was passed during a commit
            await asyncio.sleep(self.PAUSE_S)
            await self._commit()

    async def _commit(self) -> None:
        offsets, self._passed = self._passed, {}
        if not offsets:
            return
        try:
            # Explicit offsets: a bare commit after a rebalance would put back the position of the time before.
            await self._consumer.commit(offsets)  # type: ignore[attr-defined]
        except KafkaError as error:
            # A partition went to another member: it reads these messages again and finds nothing to claim.
            log.debug("consumer.commit_refused", error=repr(error))
