"""Creates and revokes API keys for the command line. A key is shown once; only its SHA-256 is stored."""

import hashlib
import re
import secrets
from typing import Any, Final
from uuid import UUID

import uuid_utils.compat as uuids

from infra.postgres.queries import keys
from infra.postgres.session import in_session
from schemas.errors import InvalidInput

KEY_PREFIX: Final = "welip_"
TENANT: Final = re.compile(r"[^\W_][\w.-]{0,62}")
"""A tenant's name is the first segment of its blobs' keys, so it must be a valid segment and never `..`."""


def digest(key: str) -> bytes:
    """What is stored of a key. A plain hash is enough: the key is 256 random bits, not a password."""
    return hashlib.sha256(key.encode()).digest()


def create_key(dsn: str, tenant: str, name: str, *, operator: bool = False) -> str:
    """A new key for `tenant`, which is created if it is new. An `operator` also sees what belongs to no tenant.

    Raises `InvalidInput` for an invalid tenant name.
    """
    if not TENANT.fullmatch(tenant):
        raise InvalidInput(
            f"{tenant!r} is not a tenant's name: use 1 to 63 letters, digits, `_`, `-`, `.`, a letter or digit first",
            field="tenant",
        )
    key = KEY_PREFIX + secrets.token_urlsafe(32)

    async def run(connection: Any) -> None:
        await keys.create(connection, uuids.uuid7(), tenant, name, key[:12], digest(key), operator)

    in_session(dsn, run)
    return key


def list_keys(dsn: str, tenant: str | None = None) -> list[dict[str, Any]]:
    """Every key: `id`, `tenant`, `name`, `prefix`, `operator`, `created_at`, `revoked_at`."""

    async def run(connection: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await keys.every(connection, tenant)]

    return in_session(dsn, run)


def revoke_key(dsn: str, key_id: str) -> bool:
    """Revoke a live key; returns whether there was one. Gateways stop accepting it within a minute."""

    async def run(connection: Any) -> bool:
        return await keys.revoke(connection, UUID(key_id))

    return in_session(dsn, run)
