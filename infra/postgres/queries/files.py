"""Files, uploaded or produced, and where their bytes are. An expired file is invisible to everybody."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

COLUMNS: Final = "id, filename, purpose, content_type, bytes, sha256, blob, created_at, expires_at"
VISIBLE: Final = "(expires_at IS NULL OR expires_at > now())"

# A blob is garbage until its row is there: what breaks off in between is deleted a day later.
EXPECT: Final = "INSERT INTO blob_garbage (blob, due_at) VALUES ($1, now() + interval '1 day')"

# No row: the upload took so long that its blob is gone, or about to go.
ADD_EXPECTED: Final = f"""
WITH expected AS (DELETE FROM blob_garbage WHERE blob = $8 RETURNING blob)
INSERT INTO file (id, tenant, filename, purpose, content_type, bytes, sha256, blob, expires_at)
SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::bigint, $7::text, blob,
       now() + make_interval(secs => $9::float8)
FROM expected RETURNING {COLUMNS}
"""

# What a job publishes, while this worker has it in this epoch: the lock lets nobody take the job away in between. A job
# has one file of a name and purpose, so that what a repeated try publishes takes the place of what the one before did.
# Its bytes, reserved while they were written, are a file's from now on.
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

# A page of a tenant's files: ids are UUIDv7, so their order is that of time. A statement for each set of filters, for a
# plan that fits all of them reads everything.
FILES: Final = {
    (filtered, newest_first): f"""
SELECT {COLUMNS} FROM file WHERE tenant = $1 AND id {"<" if newest_first else ">"} $2 AND {VISIBLE}
    {"AND purpose = $4" if filtered else ""}
ORDER BY id {"DESC" if newest_first else "ASC"} LIMIT $3
"""
    for filtered in (False, True)
    for newest_first in (False, True)
}

# The blob is noted as garbage in the same commit, and the note removed when it is deleted.
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
    """A file whose bytes are stored already. `lives_s`: seconds until it expires; None: never."""

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
    """A page of files by time."""
    begin = after or (LAST_ID if newest_first else FIRST_ID)
    filters = [] if purpose is None else [purpose]
    return await connection.fetch(FILES[bool(filters), newest_first], tenant, begin, limit, *filters)


async def expect(connection: "Connection", blob: str) -> None:
    """Say that a blob is about to be stored, whose file `add_expected` or `publish` will record."""
    await connection.execute(EXPECT, blob)


async def add_expected(connection: "Connection", new: NewFile) -> asyncpg.Record | None:
    """Record a file whose blob was expected; None when that was more than a day ago."""
    return await connection.fetchrow(ADD_EXPECTED, *_values(new))


class Published(NamedTuple):
    """Whether the job was `ours`, and whether the file was `made`: not when its blob was expected over a day ago."""

    ours: bool
    made: bool


async def publish(
    connection: "Connection", new: NewFile, *, job: UUID, epoch: int, worker: str, folder: str
) -> Published:
    """Record a file of a job whose blob was expected; all blobs of the job lie under `folder`."""
    row = await connection.fetchrow(PUBLISH, *_values(new), job, epoch, worker, folder)
    assert row is not None
    return Published(row["ours"], row["made"])


async def delete(connection: "Connection", file_id: UUID, tenant: str) -> asyncpg.Record | None:
    """`blob` and `bytes` of the file that was removed, or None; say `deleted` when the blob is gone too."""
    return await connection.fetchrow(DELETE, file_id, tenant)


async def deleted(connection: "Connection", blob: str) -> None:
    """Say that a removed file's blob is gone."""
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
