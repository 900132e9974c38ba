"""Reads dead letters for those who may see them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from gateway.http.auth import Asker
from gateway.http.rows import Row
from gateway.services import Services
from infra.postgres.queries import dead_letters
from infra.postgres.queries.dead_letters import Wanted
from schemas.errors import NotFound
from schemas.ids import parsed, shown

if TYPE_CHECKING:
    from infra.postgres.database import Connection


async def letters(
    services: Services, asking: Asker, wanted: Wanted, *, after: str | None, limit: int, requeued: bool = False
) -> Sequence[Row]:
    """Letters that the requester may see, newest first, without payloads; one more than `limit` when there are more."""
    async with services.reads.connection(asking.tenant) as connection:
        return await dead_letters.letters(
            connection,
            asking.tenant,
            operator=asking.operator,
            wanted=wanted,
            requeued=requeued,
            after=None if after is None else parsed("dead", after),
            limit=limit + 1,
        )


async def find(services: Services, letter_id: UUID, asking: Asker) -> Row:
    """A letter that the requester may see, with its payload. Raises `NotFound`."""
    async with services.database.connection() as connection:
        return await find_on(connection, letter_id, asking)


async def find_on(connection: "Connection", letter_id: UUID, asking: Asker) -> Row:
    """The same, on a connection that the caller holds."""
    row = await dead_letters.letter(connection, letter_id, asking.tenant, operator=asking.operator)
    if row is None:
        raise NotFound(f"there is no dead letter {shown('dead', letter_id)}", code="dead_letter_not_found", field="id")
    return row
