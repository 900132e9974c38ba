"""A job comes in: its row and its message in one statement. Bulk work may have to wait for its message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from infra.postgres.queries.columns import Json, Jsonb, arguments, given, names

if TYPE_CHECKING:
    from infra.postgres.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job about to be made: a field is a column of its row, but for `expires_in_s`, which becomes `expires_at`.

    `model`: the one that its stages run on, if any do. `alias`: the alias that a submission names, and `alias_model`
    what it means for this job.
    A child has a `parent`, the number of that parent's fan-out which makes it (`round`, from 1), and a `key`.
    """

    id: UUID
    tenant: str
    kind: str
    stage: str
    lane: str
    model: str | None = None
    alias: str | None = None
    alias_model: str | None = None
    input: Json
    metadata: Jsonb = "{}"
    max_attempts: int
    timeout_s: float | None = None
    expires_in_s: float | None = None
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    traceparent: str | None = None
    webhook: Jsonb | None = None
    concurrency_key: str | None = None
    parent: UUID | None = None
    round: int | None = None
    key: str | None = None


SUBMITTED: Final = names(NewJob, but=("parent", "round", "key"))
"""Columns of a job that someone submits."""

BORN: Final = names(
    NewJob,
    but=("alias", "alias_model", "metadata", "expires_in_s", "idempotency_key", "fingerprint", "webhook"),
)
"""Columns of a child."""

COPIED: Final = names(
    NewJob,
    but=("id", "stage", "expires_in_s", "idempotency_key", "fingerprint", "traceparent", "parent", "round", "key"),
)
"""Columns that a job has in common with one that does its work once more."""


STRAIGHT: Final = 64
"""While fewer jobs are queued in the lane bulk, a submitted one is summoned at once. Others are held."""


def _made(columns: tuple[str, ...], order: str, held: str, twice: str = "") -> str:
    """The common table expressions `made` and `sent`: rows with these columns, and their messages.

    `held`: the condition under which a job of the lane bulk gets none yet; `queries/dispatch.py` releases it. `twice`:
    what to do about a row that is there.
    """
    into = ", ".join("expires_at" if name == "expires_in_s" else name for name in columns)
    values = ", ".join("now() + make_interval(secs => expires_in_s)" if n == "expires_in_s" else n for n in columns)
    return f"""made AS (
    INSERT INTO job ({into}, summoned_at)
    SELECT {values}, CASE WHEN lane = 'bulk' AND {held} THEN NULL ELSE now() END
    FROM {given(NewJob, columns)} ORDER BY {order} {twice}
    RETURNING id, kind, stage, lane, model, epoch, traceparent, created_at, expires_at, summoned_at
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, model, epoch, traceparent)
    SELECT id, kind, stage, lane, model, epoch, traceparent FROM made WHERE summoned_at IS NOT NULL
)"""


# A job with a key may have to wait for others with it. Jobs are counted in the index `job_bulk`, once a statement and
# only if it has bulk work.
_MANY_QUEUED: Final = f"""(concurrency_key IS NOT NULL OR (
    SELECT count(*) FROM (
        SELECT FROM job WHERE coalesce(state, '') = 'queued' AND lane = 'bulk' LIMIT ${len(SUBMITTED) + 1}::int
    ) few) = ${len(SUBMITTED) + 1}::int)"""

_ONCE: Final = "ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"

# Many submissions, one statement. A second job under the same (tenant, idempotency key) inserts nothing, neither row
# nor message, also within one group: the caller sees its id missing from the answer and looks the first job up. In key
# order, so that two groups that share keys cannot deadlock.
SUBMIT: Final = f"""
WITH {_made(SUBMITTED, "tenant, idempotency_key, id", _MANY_QUEUED, _ONCE)}
SELECT id, created_at, expires_at FROM made
"""

# The children of a fan-out, a page at a time, in the transaction in which their parent begins to wait. In bulk they are
# all held, since their parent may be paused or limited. They have no idempotency keys; to look out for conflicts would
# cost a lock and a record of the log for each.
MAKE_CHILDREN: Final = f"""
WITH {_made(BORN, "id", "true")}
SELECT count(*) FROM made
"""

# The job that an idempotency key belongs to, with the fingerprint of the body it came with.
FIND_IDEMPOTENT: Final = """
SELECT id, fingerprint FROM job WHERE tenant = $1 AND idempotency_key = $2
"""


@dataclass(frozen=True, slots=True)
class Made:
    """When a job was made and when it expires, by Postgres's clock."""

    created_at: datetime
    expires_at: datetime | None


async def submit(connection: "Connection", jobs: Sequence[NewJob], *, straight: int = STRAIGHT) -> list[Made | None]:
    """Make jobs, and the messages of those that are not held; None for one whose idempotency key is taken.

    `straight`: how many bulk jobs are queued when others are held; 0: all are.
    """
    rows = await connection.fetch(SUBMIT, *arguments(jobs, SUBMITTED), straight)
    made = {row["id"]: Made(row["created_at"], row["expires_at"]) for row in rows}
    return [made.get(job.id) for job in jobs]


async def make_children(connection: "Connection", children: Sequence[NewJob]) -> None:
    """Make children, and the messages of those that are not held.

    A key that is taken in their round raises `asyncpg.UniqueViolationError`.
    """
    await connection.execute(MAKE_CHILDREN, *arguments(children, BORN))


async def find_idempotent(connection: "Connection", tenant: str, key: str) -> tuple[UUID, bytes] | None:
    """The job under a key, and its body's fingerprint."""
    row = await connection.fetchrow(FIND_IDEMPOTENT, tenant, key)
    return (row["id"], row["fingerprint"]) if row else None
