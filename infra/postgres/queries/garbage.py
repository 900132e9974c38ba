"""Blobs that are no longer reachable: recorded in the commit that releases them, and deleted later by that record."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from infra.postgres.queries import stored
from infra.postgres.queries.retention import IN_FOLDER

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# Most of the time nothing is due, and this is all that is asked.
ANYTHING: Final = "SELECT EXISTS (SELECT FROM blob_garbage WHERE due_at <= now())"

# The locks are held while the blobs are deleted. An upload that took until its blob became due finds its row gone here,
# and fails instead of naming a blob that is being deleted.
DUE: Final = """
SELECT blob FROM blob_garbage WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""

# What is in these folders and listed as a file: a failed job keeps what it published.
LISTED: Final = f"SELECT f.blob FROM unnest($1::text[]) AS folder(path) JOIN file f ON {IN_FOLDER}"

# If someone may still write there, the row stays for a second deletion; it no longer promises to keep the blob.
LEFT: Final = """
UPDATE blob_garbage SET due_at = again_at, again_at = NULL, job_id = NULL
WHERE blob = ANY($1::text[]) AND again_at IS NOT NULL RETURNING blob
"""
# A blob that no row names, and that is kept until then.
EXPIRE: Final = """
INSERT INTO blob_garbage (blob, due_at) VALUES ($1, now() + $2::interval)
ON CONFLICT (blob) DO UPDATE SET due_at = excluded.due_at
"""

COLLECTED: Final = "DELETE FROM blob_garbage WHERE blob = ANY($1::text[])"


async def anything(connection: "Connection") -> bool:
    """Whether something is due."""
    return bool(await connection.fetchval(ANYTHING))


async def due(connection: "Connection", limit: int) -> list[str]:
    """Blobs, or folders of blobs, to delete, in order; call it in the transaction that then calls `collected`."""
    return sorted(row["blob"] for row in await connection.fetch(DUE, limit))


async def expire(connection: "Connection", blob: str, after: timedelta) -> None:
    """Delete a blob after this time, which each call moves."""
    await connection.execute(EXPIRE, blob, after)


async def listed(connection: "Connection", folders: Sequence[str]) -> list[str]:
    """The blobs in these folders that a file's row names."""
    return [row["blob"] for row in await connection.fetch(LISTED, folders)]


async def collected(connection: "Connection", blobs: Sequence[str]) -> None:
    """Record that these are deleted and give back their room; some of them will be deleted once more."""
    await stored.forget(connection, blobs)
    left = {row["blob"] for row in await connection.fetch(LEFT, blobs)}
    await connection.execute(COLLECTED, [blob for blob in blobs if blob not in left])
