"""What MLflow refused, read and settled by the command line in the server's database."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from infra.postgres.queries import refusals
from infra.postgres.session import in_session
from schemas.ids import shown

if TYPE_CHECKING:
    from infra.postgres.database import Connection


def list_refused(dsn: str, limit: int) -> list[dict[str, Any]]:
    """At most `limit` refusals, those of the latest job first: `job`, `tenant`, `experiment`, `run`, `what`, `error`
    and `said_at`. `what` is `run` for a run that may not begin, else the key of an entry.
    """

    async def found(connection: "Connection") -> list[dict[str, Any]]:
        rows = await refusals.refused(connection, limit)
        return [{"job": shown("job", row["job_id"]), **{k: v for k, v in row.items() if k != "job_id"}} for row in rows]

    return in_session(dsn, found)


def retry_refused(dsn: str, jobs: Sequence[UUID] | None) -> list[str]:
    """Have all that was refused of these jobs, or of every job, sent again; the ids of those of which something was."""

    async def done(connection: "Connection") -> list[str]:
        return _named(await refusals.retry(connection, jobs))

    return in_session(dsn, done)


def drop_refused(dsn: str, jobs: Sequence[UUID] | None) -> list[str]:
    """Forget all that was refused of these jobs, or of every job; the ids of those of which something was."""

    async def done(connection: "Connection") -> list[str]:
        return _named(await refusals.drop(connection, jobs))

    return in_session(dsn, done)


def _named(jobs: set[UUID]) -> list[str]:
    return [shown("job", job) for job in sorted(jobs)]
