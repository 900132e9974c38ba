"""LoRA adapters: registered, found by name, removed. The weights' blob is noted as garbage when its row lets it go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from infra.postgres.queries.columns import Json, names
from schemas.adapters import MOST

if TYPE_CHECKING:
    from infra.postgres.database import Connection


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """A version of an adapter: a field is a column of its row."""

    id: UUID
    tenant: str
    base: str
    name: str
    version: int
    config: str
    rank: int
    blob: str
    bytes: int
    sha256: str
    weights_sha256: str
    lineage: Json | None
    run: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version about to be recorded, whose blob was announced (`files.expect`) and stored."""

    id: UUID
    tenant: str
    base: str
    name: str
    config: str
    rank: int
    blob: str
    bytes: int
    sha256: str
    weights_sha256: str
    lineage: Json | None
    run: UUID | None


COLUMNS: Final = ", ".join(names(StoredAdapter))

# One tenant's registrations wait for each other until the end of the caller's transaction: versions are counted.
ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended('adapters of ' || $1, 0))"

# The number follows the highest there ever was. No row when the blob is garbage by now, or there are too many.
ADD: Final = f"""
WITH expected AS (DELETE FROM blob_garbage WHERE blob = $7 RETURNING blob)
INSERT INTO adapter ({", ".join(names(NewVersion))}, version)
SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::int, $7::text, $8::bigint, $9::text, $10::text,
    $11::json, $12::uuid,
    1 + coalesce((SELECT max(version) FROM adapter WHERE tenant = $2 AND base = $3 AND name = $4), 0)
FROM expected
WHERE (SELECT count(*) FROM adapter WHERE tenant = $2 AND deleted_at IS NULL) < {MOST}
RETURNING {COLUMNS}
"""

# A version of an adapter; the newest where $4 is null.
FIND: Final = f"""
SELECT {COLUMNS} FROM adapter
WHERE tenant = $1 AND base = $2 AND name = $3 AND ($4::int IS NULL OR version = $4) AND deleted_at IS NULL
ORDER BY version DESC LIMIT 1
"""

# The newest version of each adapter of a tenant.
NEWEST: Final = f"""
SELECT DISTINCT ON (base, name) {COLUMNS} FROM adapter WHERE tenant = $1 AND deleted_at IS NULL
ORDER BY base, name, version DESC
"""

# Removes a version of an adapter, or all of them where $4 is null.
REMOVE: Final = """
WITH gone AS (
    UPDATE adapter SET deleted_at = now()
    WHERE tenant = $1 AND base = $2 AND name = $3 AND ($4::int IS NULL OR version = $4) AND deleted_at IS NULL
    RETURNING blob, bytes
), noted AS (
    INSERT INTO blob_garbage (blob) SELECT blob FROM gone ON CONFLICT DO NOTHING
)
SELECT count(*) AS removed, coalesce(sum(bytes), 0)::bigint AS bytes FROM gone
"""


async def begin(connection: "Connection", tenant: str) -> None:
    """Take this tenant's turn to register, to the end of the transaction."""
    await connection.execute(ONE_AT_A_TIME, tenant)


async def add(connection: "Connection", new: NewVersion) -> StoredAdapter | None:
    """Record the next version, in the transaction of `begin`; None when the tenant has as many as it may."""
    row = await connection.fetchrow(ADD, *(getattr(new, name) for name in names(NewVersion)))
    return None if row is None else StoredAdapter(*row)


async def find(
    connection: "Connection", tenant: str, base: str, name: str, version: int | None
) -> StoredAdapter | None:
    """A version; None means the newest."""
    row = await connection.fetchrow(FIND, tenant, base, name, version)
    return None if row is None else StoredAdapter(*row)


async def newest(connection: "Connection", tenant: str) -> Sequence[StoredAdapter]:
    """The newest version of each of the tenant's adapters, by base and name."""
    return [StoredAdapter(*row) for row in await connection.fetch(NEWEST, tenant)]


async def remove(connection: "Connection", tenant: str, base: str, name: str, version: int | None) -> tuple[int, int]:
    """Remove a version, or all where it is None; how many there were, and their bytes."""
    row = await connection.fetchrow(REMOVE, tenant, base, name, version)
    assert row is not None
    return row["removed"], row["bytes"]
