"""Reads batches for their owners."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from gateway.batches.views import batch_view
from gateway.services import Services
from infra.postgres.queries import batches, listing, reading
from schemas.errors import NotFound
from schemas.ids import shown

if TYPE_CHECKING:
    from infra.postgres.database import Connection

KIND: Final = "batch"


async def batch_of(services: Services, job_id: UUID, tenant: str) -> dict[str, Any]:
    """A batch of the tenant. Raises `NotFound`."""
    async with services.database.connection() as connection:
        row = await reading.job(connection, job_id, tenant)
        if row is None or row["kind"] != KIND:
            raise NotFound(f"there is no batch {shown('batch', job_id)}", code="batch_not_found", field="id")
        [view] = await _views(connection, [row])
    return view


async def page(services: Services, tenant: str, *, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Batches of the tenant, newest first; one more than `limit` when there are more."""
    async with services.reads.connection(tenant) as connection:
        rows = await listing.jobs(connection, tenant, kind=KIND, state=None, parent=None, after=after, limit=limit + 1)
        return await _views(connection, rows)


async def _views(connection: "Connection", rows: Sequence[asyncpg.Record]) -> list[dict[str, Any]]:
    own = await batches.batches(connection, [row["id"] for row in rows])
    lines = await reading.children(connection, [row["id"] for row in rows if row["result"] is None])
    return [batch_view(row, own[row["id"]], lines.get(row["id"])) for row in rows if row["id"] in own]
