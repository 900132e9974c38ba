"""Takes dead workers out of their consumer groups, whose other members would wait for their sessions to end."""

import asyncio
from collections.abc import Collection
from typing import Final

import structlog
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from infra.kafka.broker import KAFKA_AWAY
from infra.settings import KafkaSettings
from schemas.errors import DependencyUnavailable

log = structlog.get_logger(__name__)

ANSWERS_WITHIN_S: Final = 10


def client_id(worker: str) -> str:
    """The name by which Kafka knows a worker process."""
    return f"welip-worker-{worker}"


async def dismiss(settings: KafkaSettings, groups: Collection[str], workers: Collection[str]) -> int:
    """Let these workers leave their groups; returns how many memberships ended. Raises `DependencyUnavailable`.

    One that is alive after all joins again at its next heartbeat.
    """
    clients = {client_id(worker) for worker in workers}
    kafka = AIOKafkaClient(bootstrap_servers=settings.url, client_id="welip-rescuer")
    ended = 0
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            await kafka.bootstrap()
            for group in groups:
                coordinator = await kafka.coordinator_lookup(CoordinationType.GROUP, group)
                await kafka.ready(coordinator)
                answer = await kafka.send(coordinator, DescribeGroupsRequest([group]))
                for member in answer.to_object()["groups"][0]["members"]:
                    if member["client_id"] in clients:
                        left = await kafka.send(coordinator, LeaveGroupRequest(group, member["member_id"]))
                        ended += not left.error_code
    except KAFKA_AWAY as error:
        raise DependencyUnavailable(f"Kafka does not answer: {error!r}") from error
    finally:
        await kafka.close()
    log.info("group.dismissed", workers=sorted(workers), memberships=ended)
    return ended
