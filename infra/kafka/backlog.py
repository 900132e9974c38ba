"""How far consumer groups lag, asked over separate connections, because a consumer cannot vouch for itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import for_code

from infra.kafka.broker import KAFKA_AWAY
from infra.settings import KafkaSettings
from schemas.errors import DependencyUnavailable

ANSWERS_WITHIN_S: Final = 10


@dataclass(frozen=True, slots=True)
class Reach:
    """Offsets of one partition: its oldest message, the next one to be written, and what its group has committed."""

    start: int
    end: int
    committed: int | None

    def left(self, passed: int | None) -> int:
        """How many messages are ahead of a reader: those from `passed`, or from its group's offset if that is later.

        An offset outside the log is from an earlier topic of the same name, or its message has expired. Then a reader
        starts at the oldest message.
        """
        known = [at for at in (passed, self.committed) if at is not None and self.start <= at <= self.end]
        return self.end - max(known, default=self.start)


class Backlog:
    """Asks Kafka. Connections are opened on demand, kept while they answer, and replaced when they do not."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._admin: AIOKafkaAdminClient | None = None
        self._reader: AIOKafkaConsumer | None = None

    async def reach(self, groups: Mapping[str, Sequence[str]]) -> dict[tuple[str, TopicPartition], Reach]:
        """The offsets of every partition of each group's topics. Raises `DependencyUnavailable`."""
        async with self._answering():
            return await self._reach(groups)

    async def owners(self, group: str) -> dict[TopicPartition, str]:
        """The client that each assigned partition belongs to, as the broker sees it; empty while a group rebalances.

        Raises `DependencyUnavailable`.
        """
        async with self._answering():
            admin, _ = await self._connected()
            # One group per request: aiokafka misreads a response about several.
            [described] = await admin.describe_consumer_groups([group])
            [found] = described.to_object()["groups"]
            if found["error_code"]:
                raise for_code(found["error_code"])(f"group {group}")
        return {
            partition: member["client_id"]
            for member in found["members"]
            if member["member_assignment"]
            for partition in ConsumerProtocolMemberAssignment.decode(member["member_assignment"]).partitions()
        }

    async def close(self) -> None:
        """Close the connections, dead or alive."""
        admin, reader = self._admin, self._reader
        self._admin = self._reader = None
        with contextlib.suppress(*KAFKA_AWAY):
            async with asyncio.timeout(2):
                if admin is not None:
                    await admin.close()
                if reader is not None:
                    await reader.stop()

    @contextlib.asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                yield
        except KAFKA_AWAY as error:
            await self.close()
            raise DependencyUnavailable(f"Kafka does not answer: {error!r}") from error

    async def _reach(self, groups: Mapping[str, Sequence[str]]) -> dict[tuple[str, TopicPartition], Reach]:
        admin, reader = await self._connected()
        described = await admin.describe_topics(sorted({topic for topics in groups.values() for topic in topics}))
        partitions: dict[str, list[TopicPartition]] = {
            topic["topic"]: [TopicPartition(topic["topic"], p["partition"]) for p in topic["partitions"]]
            for topic in described
        }
        every = [partition for found in partitions.values() for partition in found]
        starts, ends = await reader.beginning_offsets(every), await reader.end_offsets(every)
        reach = {}
        for group, topics in groups.items():
            mine = [partition for topic in topics for partition in partitions[topic]]
            committed = await admin.list_consumer_group_offsets(group, partitions=mine) if mine else {}
            for partition in mine:
                offset = committed[partition].offset
                reach[group, partition] = Reach(starts[partition], ends[partition], None if offset < 0 else offset)
        return reach

    async def _connected(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        if self._admin is None or self._reader is None:
            await self.close()
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.url)
            await self._admin.start()
            self._reader = AIOKafkaConsumer(bootstrap_servers=self._settings.url)  # in no group, subscribed to no topic
            await self._reader.start()
        return self._admin, self._reader
