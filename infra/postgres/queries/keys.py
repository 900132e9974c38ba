"""API keys, of which only the hashes are stored."""

from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    from infra.postgres.database import Connection

# A key, and its tenant if the tenant is new.
CREATE: Final = """
WITH owner AS (INSERT INTO tenant (id) VALUES ($2) ON CONFLICT DO NOTHING)
INSERT INTO api_key (id, tenant, name, prefix, hash, operator) VALUES ($1, $2, $3, $4, $5, $6)
"""
LIST: Final = """
SELECT id, tenant, name, prefix, operator, created_at, revoked_at FROM api_key
WHERE $1::text IS NULL OR tenant = $1 ORDER BY created_at
"""
REVOKE: Final = "UPDATE api_key SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id"

# The owner of a key. The hash of a random 256-bit secret is looked up, so timing says nothing about other keys' hashes.
OWNER: Final = "SELECT tenant, operator, name FROM api_key WHERE hash = $1 AND revoked_at IS NULL"


async def create(
    connection: "Connection", key_id: UUID, tenant: str, name: str, prefix: str, digest: bytes, operator: bool = False
) -> None:
    """Record a new key."""
    await connection.execute(CREATE, key_id, tenant, name, prefix, digest, operator)


async def every(connection: "Connection", tenant: str | None) -> list[asyncpg.Record]:
    """The keys of a tenant, or of all."""
    return await connection.fetch(LIST, tenant)


async def revoke(connection: "Connection", key_id: UUID) -> bool:
    """Revoke a live key; returns whether there was one."""
    return await connection.fetchval(REVOKE, key_id) is not None


async def owner(connection: "Connection", digest: bytes) -> tuple[str, bool, str] | None:
    """The tenant whose live key has this hash, whether it is an operator's key, and the key's name."""
    row = await connection.fetchrow(OWNER, digest)
    return None if row is None else (row["tenant"], row["operator"], row["name"])
