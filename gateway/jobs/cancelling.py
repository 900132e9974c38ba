"""Cancels jobs for their owners: because they ask, or because they left and had asked for it."""

from typing import Final
from uuid import UUID

import anyio
import structlog

from infra.patience import patiently
from infra.postgres.database import Database
from infra.postgres.queries import cancel, moves

log = structlog.get_logger(__name__)

TRIED_FOR_S: Final = 60.0
"""How long the cancellation of an abandoned job is tried while Postgres is away."""


async def cancel_tree(database: Database, job_id: UUID, tenant: str) -> bool:
    """Cancel a job with its children; whether it was live."""
    async with database.connection() as connection:
        live, parents = await cancel.cancel(connection, job_id, tenant)
        # After the commit, like every fan-in: when two children end together, the later one must see both.
        await moves.resume_parents(connection, sorted(parents))
    return live


async def cancel_abandoned(database: Database, job_id: UUID, tenant: str) -> None:
    """Cancel a job whose reader left. The end of the request does not stop this."""
    with anyio.move_on_after(TRIED_FOR_S, shield=True):
        live = await patiently(lambda: cancel_tree(database, job_id, tenant), event="abandoned.away")
        log.info("job.abandoned", job_id=job_id.hex, live=live)
