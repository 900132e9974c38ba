"""Detects a worker that is alive but stuck, and ends it: its supervisor starts another, and its leases expire.

Two things can hang for good. A stage may block the event loop, while the heartbeat's thread keeps the leases of all
that the process holds. And a consumer may stop consuming without an error (aiokafka#1037, #1154).
"""

import asyncio
import faulthandler
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka import TopicPartition

from consumers.progress import Progress
from infra.kafka.backlog import Backlog, Reach
from infra.process import end_at_once
from infra.settings import KafkaSettings
from schemas.errors import DependencyUnavailable

if TYPE_CHECKING:
    from consumers.subscriptions import Subscription

log = structlog.get_logger(__name__)

TIMES: Final = 6
"""This many consecutive signs of life must be missing.

They are counted, and no time is measured, so that a process or a machine that wakes from suspension is not considered
stuck.
"""


class ConsumerStuck(Exception):
    """A consumer stopped consuming: messages wait, slots are free, and nothing comes."""


class LoopWatch:
    """A thread that asks the event loop for a sign of life, and ends the process when none comes for `stuck_s` seconds.

    A stage that keeps Python's own lock stops this thread as well. Then heartbeats stop too and others take the jobs;
    faulthandler, which needs no lock, ends what is left after twice the time, with status 1 (so it does when the whole
    process was suspended for as long; its leases are over then).
    """

    def __init__(self, stuck_s: float) -> None:
        self._stuck_s = stuck_s
        self._answered = threading.Event()
        self._answered.set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the running loop."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="liveness", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching. The loop must still be open."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        unanswered = 0
        while not self._stop.wait(self._stuck_s / TIMES):
            faulthandler.dump_traceback_later(2 * self._stuck_s, exit=True, file=sys.__stderr__ or 2)
            if self._answered.is_set():
                unanswered = 0
                self._answered.clear()
                loop.call_soon_threadsafe(self._answered.set)
                continue
            unanswered += 1
            if unanswered == TIMES:
                end_at_once(lambda: log.error("worker.stuck", reason="loop", silent_s=self._stuck_s))


class ConsumerWatch:
    """Asks Kafka, through connections of its own, whether messages wait that this worker's consumers do not bring.

    Stuck is a consumer when, for `stuck_s` seconds, its lane had free slots and no claim was held up, and a partition
    had messages left of which none was passed, by this worker or by its group. Only partitions of this worker or of
    nobody count. Another worker watches its own, and may well be busy. When nobody has
    a partition, every idle worker of the pool ends, the healthy ones too; that costs a rebalance, which is the cure.

    While Kafka does not answer, nothing is concluded, and the time starts again.
    """

    def __init__(
        self, progress: "Mapping[Subscription, Progress]", kafka: KafkaSettings, *, client_id: str, stuck_s: float
    ) -> None:
        self.looks = 0
        """How many times Kafka was asked and answered."""
        self._progress = {subscription.group: one for subscription, one in progress.items()}
        self._topics = {subscription.group: subscription.topics for subscription in progress}
        self._embedded = kafka.embedded
        self._client_id = client_id
        self._stuck_s = stuck_s
        self._backlog = Backlog(kafka)
        self._unmoved: dict[tuple[str, TopicPartition], _Unmoved] = {}

    async def run(self) -> None:
        """Watch until cancelled. Raises `ConsumerStuck`."""
        try:
            while True:
                await asyncio.sleep(self._stuck_s / TIMES)
                try:
                    waiting = await self._look()
                except DependencyUnavailable:
                    self._unmoved.clear()
                    continue
                except Exception as error:  # any error: the watch must not end a consumer that works
                    log.error("liveness.defect", exc_info=error)
                    await self._backlog.close()
                    continue
                self._judge(waiting)
                self.looks += 1
        finally:
            await self._backlog.close()

    async def _look(self) -> dict[tuple[str, TopicPartition], Reach]:
        """The partitions that have messages left for this worker."""
        waiting = {
            (group, partition): reach
            for (group, partition), reach in (await self._backlog.reach(self._topics)).items()
            if reach.left(self._progress[group].passed.get(partition))
        }
        if self._embedded:  # partitions are assigned, all of them to the one worker there is
            return waiting
        owners = {group: await self._backlog.owners(group) for group in {group for group, _ in waiting}}
        return {
            (group, partition): reach
            for (group, partition), reach in waiting.items()
            if owners[group].get(partition, self._client_id) == self._client_id
        }

    def _judge(self, waiting: dict[tuple[str, TopicPartition], Reach]) -> None:
        before, self._unmoved = self._unmoved, {}
        for (group, partition), reach in waiting.items():
            progress = self._progress[group]
            position = (progress.passed.get(partition), reach.committed)
            seen = before.get((group, partition))
            able_since = progress.able_since
            if seen is None or seen.position != position or able_since is None or able_since > seen.since:
                seen = _Unmoved(position)
            self._unmoved[group, partition] = seen
            seen.looks += 1
            if seen.looks > TIMES:
                where = {"group": group, "topic": partition.topic, "partition": partition.partition}
                log.error("worker.stuck", reason="consumer", **where, committed=reach.committed, end=reach.end)
                raise ConsumerStuck(f"nothing comes of {partition.topic}, partition {partition.partition}")


@dataclass(slots=True)
class _Unmoved:
    """A partition that has messages left: what was passed of it when, and how many looks found nothing moved since."""

    position: tuple[int | None, int | None]
    since: float = field(default_factory=time.monotonic)
    looks: int = 0
