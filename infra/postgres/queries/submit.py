"""A job comes in: its row and its message in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Many submissions, one statement. A second job under the same (tenant, idempotency key) inserts nothing, neither row
# nor message, also within one group: the caller sees its id missing from the answer and looks the first job up. In key
# order, so that two groups that share keys cannot deadlock.
SUBMIT: Final = """
WITH given AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::json[], $7::jsonb[], $8::int[], $9::float8[],
        $10::float8[], $11::text[], $12::bytea[], $13::text[], $14::jsonb[]
    ) AS g(id, tenant, kind, stage, lane, input, metadata, max_attempts, timeout_s, expires_in_s,
           idempotency_key, fingerprint, traceparent, webhook)
), made AS (
    INSERT INTO job (id, tenant, kind, stage, lane, input, metadata, max_attempts, timeout_s, expires_at,
                     idempotency_key, fingerprint, traceparent, webhook)
    SELECT id, tenant, kind, stage, lane, input, metadata, max_attempts, timeout_s,
           now() + make_interval(secs => expires_in_s), idempotency_key, fingerprint, traceparent, webhook
    FROM given ORDER BY tenant, idempotency_key, id
    ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, kind, stage, lane, epoch, traceparent, created_at, expires_at
), sent AS (
    INSERT INTO outbox (job_id, kind, stage, lane, epoch, traceparent)
    SELECT id, kind, stage, lane, epoch, traceparent FROM made
)
SELECT id, created_at, expires_at FROM made
"""

# The job that an idempotency key belongs to, with the fingerprint of the body it came with.
FIND_IDEMPOTENT: Final = """
SELECT id, fingerprint FROM job WHERE tenant = $1 AND idempotency_key = $2
"""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job about to be made. `input`, `metadata` and `webhook` are JSON texts."""

    id: UUID
    tenant: str
    kind: str
    stage: str
    lane: str
    input: str
    metadata: str
    max_attempts: int
    timeout_s: float | None
    expires_in_s: float | None
    idempotency_key: str | None
    fingerprint: bytes | None
    traceparent: str | None
    webhook: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """When a job was made and when it expires, by Postgres's clock."""

    created_at: datetime
    expires_at: datetime | None


async def submit(connection: "Connection", jobs: Sequence[NewJob]) -> list[Made | None]:
    """Make jobs and their messages; None for one whose idempotency key is taken."""
    rows = await connection.fetch(
        SUBMIT,
        [j.id for j in jobs],
        [j.tenant for j in jobs],
        [j.kind for j in jobs],
        [j.stage for j in jobs],
        [j.lane for j in jobs],
        [j.input for j in jobs],
        [j.metadata for j in jobs],
        [j.max_attempts for j in jobs],
        [j.timeout_s for j in jobs],
        [j.expires_in_s for j in jobs],
        [j.idempotency_key for j in jobs],
        [j.fingerprint for j in jobs],
        [j.traceparent for j in jobs],
        [j.webhook for j in jobs],
    )
    made = {row["id"]: Made(row["created_at"], row["expires_at"]) for row in rows}
    return [made.get(job.id) for job in jobs]


async def find_idempotent(connection: "Connection", tenant: str, key: str) -> tuple[UUID, bytes] | None:
    """The job under a key, and its body's fingerprint."""
    row = await connection.fetchrow(FIND_IDEMPOTENT, tenant, key)
    return (row["id"], row["fingerprint"]) if row else None
