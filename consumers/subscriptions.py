"""Consumes topics: each message is a summons; its job is claimed, and then the offset may be committed.

The loop is our own, on aiokafka: FastStream joins one group after the other, its batch handler pauses between polls,
and its single-message handler costs more than a whole no-op job.
"""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from consumers.claims import whole
from consumers.executor import Executor, Try
from consumers.held import Abort
from consumers.progress import Progress
from consumers.slots import Slots
from consumers.turns import Turns
from consumers.unreadable import keep, read
from infra.kafka.broker import KAFKA_AWAY
from infra.kafka.consumer import join, leave_aside
from infra.kafka.embedded import Pace
from infra.metrics import IN_FLIGHT, STALE
from infra.patience import patiently
from infra.postgres.queries import claim
from infra.postgres.queries.claim import Claimed
from infra.settings import KafkaSettings, WorkerSettings
from schemas.kinds.registry import Route
from schemas.messages import Summons
from schemas.models import Models
from schemas.topics import PREFIX, Lane, Pool, kind_of

log = structlog.get_logger(__name__)

LONG_IDLE_MS: Final = 1_000
"""How long a fetch of work that takes minutes may wait at the embedded broker: each of its lanes is a consumer."""

GATHERS_S: Final = 0.005
"""How long bulk work waits for half of the slots, so that it is claimed, and its ends are recorded, in larger groups:
otherwise quick jobs are claimed by the four or five, and statements cost as much as the work.
"""

LOOKS_BESIDE_S: Final = 0.005
"""How often other kinds are asked for while one holds all the slots that it may."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Topics of one lane that one consumer reads as one group.

    `ahead`: those of them whose messages go before the others', because they continue started jobs. `model`: the one
    that has slots of its own for them; None: they share the slots of the lane. `alone`: their stages take one slot of
    the worker's own for them, whatever the lane.
    """

    group: str
    topics: tuple[str, ...]
    lane: Lane
    ahead: frozenset[str] = frozenset()
    model: str | None = None
    alone: bool = False


Room = Callable[[Lane], int]
"""How many jobs of a lane an engine in this process has room for now, those the worker holds included."""


def subscriptions(routes: Iterable[Route], *, embedded: bool, rooms: Collection[str]) -> list[Subscription]:
    """The topics of each group, which one consumer reads. `rooms`: models with slots of their own.

    The embedded broker serves one worker process, where nothing scales and every consumer costs idle polls: there one
    group a lane, and one for each lane of a model, or of the pool `train`, with slots of its own.
    """
    grouped: dict[tuple[str, Lane, str | None, bool], list[Route]] = defaultdict(list)
    for route in routes:
        alone = route.pool is Pool.TRAIN
        model = route.served_by if route.served_by in rooms else None
        shared = PREFIX if model is None else f"{PREFIX}.{model}"
        group = f"{shared}.{route.lane}" if embedded and not alone else route.group
        grouped[group, route.lane, model, alone].append(route)
    return [
        Subscription(
            group,
            tuple(route.topic for route in mine),
            lane,
            frozenset(route.topic for route in mine if not route.begins),
            model,
            alone,
        )
        for (group, lane, model, alone), mine in grouped.items()
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


class Consumers:
    """All subscriptions of one worker process."""

    def __init__(
        self,
        executor: Executor,
        wanted: Sequence[Subscription],
        *,
        kafka: KafkaSettings,
        worker: WorkerSettings,
        worker_name: str,
        client_id: str,
        rooms: Mapping[str, int | Room] | None = None,
    ) -> None:
        self._executor = executor
        self._kafka = kafka
        self._lease = worker.lease.total_seconds()
        self._worker_name = worker_name
        self._client_id = client_id
        spare = worker.concurrency // 4
        shared = Slots(worker.concurrency, spare=spare)
        # Bulk waits for the interactive consumers' polls where it shares their slots.
        self._poll_ms = 100 if worker.shared_slots else 1_000
        sizes: dict[str | None, int | Room] = {None: worker.concurrency}
        sizes.update(rooms or {})
        self._slots = {
            (lane, model): shared
            if worker.shared_slots
            else Slots(size if isinstance(size, int) else partial(size, lane), spare=0 if model else spare)
            for lane in Lane
            for model, size in sizes.items()
        }
        self._alone = Slots(1)
        self.progress = {one: Progress(self._slots_of(one)) for one in wanted}
        self._under_way: Counter[str] = Counter()
        """Stages by topic."""
        self._kinds = {one: {kind_of(topic) for topic in one.topics} for one in wanted}
        self._turns = {one: Turns(one.topics, one.ahead) for one in wanted}
        self._tries: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._joined: dict[Subscription, AIOKafkaConsumer] = {}
        self.all_joined = asyncio.Event()
        """Set once every group has this worker."""

    def _slots_of(self, subscription: Subscription) -> Slots:
        return self._alone if subscription.alone else self._slots[subscription.lane, subscription.model]

    async def run(self) -> None:
        """Join the groups and consume until cancelled. Raises what ends a loop by a defect.

        All at once: while a worker joins one group it holds partitions of another, whose messages must not wait.
        """
        self._loops = [asyncio.create_task(self._consume(one)) for one in self.progress]
        try:
            await asyncio.gather(*self._loops)
        finally:
            await self._stop_claiming()

    async def drain(self, limit_s: float) -> None:
        """Let running stages finish for `limit_s` seconds, then hand the rest back; they lose no attempt."""
        await self._stop_claiming()
        await self.leave()
        if self._tries:
            await asyncio.wait(self._tries, timeout=limit_s)
        for job in self._executor.held.every():
            job.abort(Abort.STOPPING)
        if self._tries:
            await asyncio.wait(self._tries, timeout=10)

    async def leave(self) -> None:
        """Leave the groups at once: the partitions of a draining member would be unread for the whole drain."""
        leaving = asyncio.gather(*(consumer.stop() for consumer in self._joined.values()), return_exceptions=True)
        with contextlib.suppress(TimeoutError):  # aiokafka's stop may hang while the broker is down
            await asyncio.wait_for(leaving, 5)

    async def _stop_claiming(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _join(self, subscription: Subscription) -> AIOKafkaConsumer:
        """Join the group; keep trying, and log it, until Kafka lets this worker in."""
        while True:
            try:
                consumer = await join(
                    self._kafka, subscription.topics, group=subscription.group, client_id=self._client_id
                )
                break
            except KAFKA_AWAY as error:
                log.warning("consumer.away", group=subscription.group, error=repr(error))
                await asyncio.sleep(1)
        self._joined[subscription] = consumer
        if len(self._joined) == len(self.progress):
            self.all_joined.set()
        return consumer

    async def _consume(self, subscription: Subscription) -> None:
        consumer = await self._join(subscription)
        slots = self._slots_of(subscription)
        progress = self.progress[subscription]
        offsets = Offsets(consumer)
        embedded = self._kafka.embedded
        pace = Pace(consumer, idle_ms=LONG_IDLE_MS if subscription.alone else Pace.IDLE_MS) if embedded else None
        resting: set[str] = set()
        try:
            while True:
                resting = self._rest(consumer, subscription, resting)
                if resting:
                    progress.held_up()
                if pace is not None and subscription.alone and not slots.free:
                    pace.rests()  # one slot, which is taken for minutes
                try:
                    room = await slots.wait(last=subscription.lane is Lane.BULK)
                    crowd = {topic for topic in subscription.topics if not slots.room_for(kind_of(topic))}
                    leave_aside(consumer, crowd | resting)
                    if crowd:
                        progress.held_up()
                        polled = await self._poll_beside(consumer, subscription, crowd, room)
                    else:
                        polled = await self._poll(consumer, subscription, room)
                except KafkaError as error:
                    log.warning("consumer.away", group=subscription.group, error=repr(error))
                    await asyncio.sleep(1)
                    continue
                records = [record for batch in polled.values() for record in batch]
                if pace is not None:
                    pace.saw(len(records), left=crowd | resting)
                if records:
                    with progress.claiming():
                        await self._claim(records, slots, subscription.lane)
                    passed = {tp: batch[-1].offset + 1 for tp, batch in polled.items() if batch}
                    progress.passed.update(passed)
                    offsets.passed(passed)
        finally:
            await offsets.close()

    async def _poll(
        self, consumer: AIOKafkaConsumer, subscription: Subscription, most: int
    ) -> "dict[TopicPartition, list[ConsumerRecord[bytes | None, bytes | None]]]":
        """At most so many messages, by partition; waits up to a second for the first."""
        slots = self._slots_of(subscription)
        if subscription.lane is Lane.BULK:
            await slots.half(GATHERS_S)
            most = max(1, slots.free)
        most = max(1, min(most, *(slots.room_for(kind) for kind in self._kinds[subscription])))
        for partitions in self._turns[subscription].next(consumer.assignment(), self._under_way, slots.size):
            if polled := await consumer.getmany(*partitions, timeout_ms=0, max_records=most):
                return polled  # type: ignore[no-any-return]
        return await consumer.getmany(timeout_ms=self._poll_ms, max_records=most)  # type: ignore[no-any-return]

    async def _poll_beside(
        self, consumer: AIOKafkaConsumer, subscription: Subscription, crowd: Collection[str], most: int
    ) -> "dict[TopicPartition, list[ConsumerRecord[bytes | None, bytes | None]]]":
        """Messages of kinds that may take more slots, while the topics in `crowd` may not."""
        slots = self._slots_of(subscription)
        if await slots.changed(LOOKS_BESIDE_S):
            return {}  # the crowd may have room again
        beside = [one for one in consumer.assignment() if one.topic not in crowd]
        if not beside:
            return {}
        most = min(most, *(slots.room_for(kind_of(one.topic)) for one in beside))
        return await consumer.getmany(*beside, timeout_ms=0, max_records=most)  # type: ignore[no-any-return]

    def _rest(self, consumer: AIOKafkaConsumer, subscription: Subscription, before: set[str]) -> set[str]:
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

        def stage_over(kind: str, topic: str) -> None:
            slots.ended(kind)
            self._under_way[topic] -= 1
            gauge.dec()

        gauge.inc(len(rows))
        for row in rows:
            one = Try(self._executor, row, asked + self._lease)
            self._under_way[one.topic] += 1
            slots.began(row.kind)
            task = asyncio.create_task(one.run(partial(stage_over, row.kind, one.topic)))
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


class Offsets:
    """Commits what was passed, a few times a second, out of the way of the next poll: repeating a summons is cheap."""

    PAUSE_S = 0.25
    LAST_WITHIN_S = 3.0

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._passed: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def passed(self, offsets: dict[TopicPartition, int]) -> None:
        """These offsets may be committed: what came before them is claimed, or was stale."""
        self._passed.update(offsets)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit_soon())

    async def close(self) -> None:
        """Commit what is left.

        A commit that is under way goes on to its end. aiokafka shields it: when its caller is cancelled, it stays in a
        task of its own, and when the connection closes, that ends with an error that nobody reads.
        """
        self._closing.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, self.LAST_WITHIN_S)

    async def _commit_soon(self) -> None:
        while self._passed:  # including what was passed during a commit
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self.PAUSE_S)
            await self._commit()

    async def _commit(self) -> None:
        offsets, self._passed = self._passed, {}
        if not offsets:
            return
        try:
            # Explicit offsets: a bare commit after a rebalance would put back the position of the time before.
            await self._consumer.commit(offsets)
        except KafkaError as error:
            # A partition went to another member: it reads these messages again and finds nothing to claim.
            log.debug("consumer.commit_refused", error=repr(error))
