"""Reads messages; what is not a summons becomes a dead letter before its offset may be committed."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import orjson
import structlog
from aiokafka.structs import ConsumerRecord
from pydantic import ValidationError

from infra.metrics import UNREADABLE
from infra.patience import patiently
from infra.postgres.database import Database
from infra.postgres.queries import dead_letters
from infra.postgres.queries.dead_letters import Unreadable
from schemas.kinds.registry import topic_of
from schemas.messages import Summons
from schemas.topics import topic_name

log = structlog.get_logger(__name__)

MAX_PAYLOAD: Final = 1024 * 1024
"""Bytes kept of a message: all that a broker with Kafka's own limit accepts."""

A_STATEMENT: Final = 64
"""Messages of that size that one statement keeps well within its time limit."""


def read(records: "Sequence[ConsumerRecord[bytes | None, bytes | None]]") -> tuple[list[Summons], list[Unreadable]]:
    """The summonses, and the messages that are none or belong on another topic."""
    summons: list[Summons] = []
    unreadable: list[Unreadable] = []
    for record in records:
        try:
            found = Summons.model_validate_json(record.value or b"")
        except ValidationError as error:
            unreadable.append(_unreadable(record, "unreadable_message", _why(error)))
            continue
        home = topic_of(found.kind, found.stage, found.lane, found.model)
        # A former name belongs on its own topic, which is being drained, and on that of the present name; a model that
        # is gone, on the topic without a model's name.
        if record.topic in (home, topic_name(found.kind, found.stage, found.lane)):
            summons.append(found)
        else:
            unreadable.append(_unreadable(record, "misplaced_message", f"it belongs on the topic {home[:200]!r}"))
    return summons, unreadable


async def keep(database: Database, messages: Sequence[Unreadable]) -> None:
    """Return once the messages are kept, each once; keep trying while Postgres is away."""
    for topic, count in Counter(message.topic for message in messages).items():
        UNREADABLE.labels(topic).inc(count)
        log.error("message.unreadable", topic=topic, messages=count)
    for start in range(0, len(messages), A_STATEMENT):
        page = messages[start : start + A_STATEMENT]

        async def once(page: Sequence[Unreadable] = page) -> int:
            async with database.connection() as connection:
                return await dead_letters.keep(connection, page)

        await patiently(once, event="dead.away", first_s=0.1, longest_s=2)


def _unreadable(record: "ConsumerRecord[bytes | None, bytes | None]", reason: str, message: str) -> Unreadable:
    payload = record.value or b""
    if len(payload) > MAX_PAYLOAD:
        message += f"; of its {len(payload)} bytes the first {MAX_PAYLOAD} are kept"
    return Unreadable(
        record.topic,
        record.partition,
        record.offset,
        payload[:MAX_PAYLOAD],
        hashlib.sha256(payload).digest(),
        reason,
        orjson.dumps({"code": reason, "message": message, "retryable": False}).decode(),
    )


def _why(error: ValidationError) -> str:
    """`epoch: Input should be greater than or equal to 0`, and how many more."""
    first, *more = error.errors(include_url=False, include_context=False, include_input=False)
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}".removeprefix(": ") + (f"; and {len(more)} more" if more else "")
