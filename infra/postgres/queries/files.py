"""Files, uploaded or produced, and where their bytes are. An expired file is invisible to everybody."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

COLUMNS: Final = "id, filename, purpose, content_type, bytes, sha256, blob, created_at, expires_at"
VISIBLE: Final = "(expires_at IS NULL OR expires_at > now())"

# A blob is garbage until its row exists. What is interrupted in between is deleted a day later.
EXPECT: Final = "INSERT INTO blob_garbage (blob, due_at) VALUES ($1, now() + interval '1 day')"

# Returns no row when the upload took so long that its blob is gone or about to go.
ADD_EXPECTED: Final = f"""
WITH expected AS (DELETE FROM blob_garbage WHERE blob = $8 RETURNING blob)
INSERT INTO file (id, tenant, filename, purpose, content_type, bytes, sha256, blob, expires_at)
SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::bigint, $7::text, blob,
       now() + make_interval(secs => $9::float8)
FROM expected RETURNING {COLUMNS}
"""

# Publishes a job's file while this worker holds the job in this epoch; the lock keeps others from taking the job in
# between. A job has one file per name and purpose, so what a repeated try publishes replaces what the try before did.
# The bytes, reserved while they were written, belong to a file from now on.
PUBLISH: Final = """
WITH ours AS (
    SELECT id FROM job WHERE id = $10 AND epoch = $11 AND worker = $12 AND state = 'running' FOR SHARE
), expected AS (
    DELETE FROM blob_garbage USING ours WHERE blob = $8 RETURNING blob
), settled AS (
    DELETE FROM stored_blob s USING expected WHERE s.blob = expected.blob RETURNING s.tenant, s.bytes
), given_back AS (
    UPDATE stored_total t SET bytes = t.bytes - settled.bytes FROM settled WHERE t.tenant = settled.tenant
), older AS (
    DELETE FROM file f USING expected
    WHERE f.blob ~>~ ($13::text || '/') AND f.blob ~<~ ($13::text || '0') AND f.filename = $3 AND f.purpose = $4
    RETURNING f.blob
), noted AS (
    INSERT INTO blob_garbage (blob) SELECT blob FROM older ON CONFLICT DO NOTHING
), made AS (
    INSERT INTO file (id, tenant, filename, purpose, content_type, bytes, sha256, blob, expires_at)
    SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::bigint, $7::text, blob,
           now() + make_interval(secs => $9::float8)
    FROM expected RETURNING id
)
SELECT EXISTS (SELECT FROM ours) AS ours, EXISTS (SELECT FROM made) AS made
"""

FILE: Final = f"SELECT {COLUMNS} FROM file WHERE id = $1 AND tenant = $2 AND {VISIBLE}"

# A page of a tenant's files. Ids are UUIDv7, so their order is by time. Each set of filters has its own statement,
# because a plan that fits all of them reads everything.
FILES: Final = {
    (filtered, newest_first): f"""
SELECT {COLUMNS} FROM file WHERE tenant = $1 AND id {"<" if newest_first else ">"} $2 AND {VISIBLE}
    {"AND purpose = $4" if filtered else ""}
ORDER BY id {"DESC" if newest_first else "ASC"} LIMIT $3
"""
    for filtered in (False, True)
    for newest_first in (False, True)
}

# The same commit notes the blob as garbage; the note is removed once the blob is deleted.
DELETE: Final = f"""
WITH gone AS (DELETE FROM file WHERE id = $1 AND tenant = $2 AND {VISIBLE} RETURNING blob, bytes),
noted AS (INSERT INTO blob_garbage (blob) SELECT blob FROM gone ON CONFLICT DO NOTHING)
SELECT blob, bytes FROM gone
"""
DELETED: Final = "DELETE FROM blob_garbage WHERE blob = $1"

FIRST_ID: Final = UUID(int=0)
LAST_ID: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file whose bytes are already stored. `lives_s` is the seconds until it expires; None means never."""

    id: UUID
    tenant: str
    filename: str
    purpose: str
    content_type: str
    bytes: int
    sha256: str
    blob: str
    lives_s: float | None = None


async def file(connection: "Connection", file_id: UUID, tenant: str) -> asyncpg.Record | None:
    """A file of the tenant."""
    return await connection.fetchrow(FILE, file_id, tenant)


async def files(
    connection: "Connection",
    tenant: str,
    *,
    purpose: str | None = None,
    after: UUID | None,
    limit: int,
    newest_first: bool = True,
) -> list[asyncpg.Record]:
    """A page of files, ordered by time."""
    begin = after or (LAST_ID if newest_first else FIRST_ID)
    filters = [] if purpose is None else [purpose]
    return await connection.fetch(FILES[bool(filters), newest_first], tenant, begin, limit, *filters)


async def expect(connection: "Connection", blob: str) -> None:
    """Announce a blob that is about to be stored, whose file `add_expected` or `publish` will record."""
    await connection.execute(EXPECT, blob)


async def add_expected(connection: "Connection", new: NewFile) -> asyncpg.Record | None:
    """Record a file whose blob was announced; None when that was more than a day ago."""
    return await connection.fetchrow(ADD_EXPECTED, *_values(new))


class Published(NamedTuple):
    """`ours`: the worker held the job. `made`: the file was recorded, its blob being announced less than a day ago."""

    ours: bool
    made: bool


async def publish(
    connection: "Connection", new: NewFile, *, job: UUID, epoch: int, worker: str, folder: str
) -> Published:
    """Record a job's file whose blob was announced; all blobs of the job are under `folder`."""
    row = await connection.fetchrow(PUBLISH, *_values(new), job, epoch, worker, folder)
    assert row is not None
    return Published(row["ours"], row["made"])


async def delete(connection: "Connection", file_id: UUID, tenant: str) -> asyncpg.Record | None:
    """Remove the file; returns its `blob` and `bytes`, or None. Call `deleted` when the blob is gone too."""
    return await connection.fetchrow(DELETE, file_id, tenant)


async def deleted(connection: "Connection", blob: str) -> None:
    """Record that a removed file's blob is gone."""
    await connection.execute(DELETED, blob)


def _values(new: NewFile) -> tuple[object, ...]:
    return (
        new.id,
        new.tenant,
        new.filename,
        new.purpose,
        new.content_type,
        new.bytes,
        new.sha256,
        new.blob,
        new.lives_s,
    )
