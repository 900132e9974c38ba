"""API keys: `Authorization: Bearer <key>` names a tenant, and perhaps an operator."""

import time
from dataclasses import dataclass
from typing import Final

from gateway.http.errors import Unauthenticated
from infra.postgres.database import Database
from infra.postgres.keys import digest
from infra.postgres.queries import keys
from infra.settings import GatewaySettings

DEFAULT_TENANT: Final = "default"
REMEMBER_S: Final = 30.0
"""How long a key is trusted without asking again, and so how long a revoked one still works."""
REMEMBER_AT_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, with a key of this `name`. An `operator` also sees what belongs to no tenant: unreadable messages."""

    tenant: str
    operator: bool
    name: str


NOBODY_ELSE: Final = Asker(DEFAULT_TENANT, operator=True, name="local")
"""With authentication off, which is allowed on loopback only."""


class Keys:
    """Finds a key's owner, and remembers it for `REMEMBER_S` by the key's hash, so that no key stays in memory."""

    def __init__(self, database: Database, settings: GatewaySettings) -> None:
        self._database = database
        self._off = settings.auth == "off"
        self._known: dict[bytes, tuple[Asker, float]] = {}

    async def tenant(self, authorization: str | None) -> str:
        """The tenant of an `Authorization` header. Raises `Unauthenticated`; with authentication off, `default`."""
        return (await self.asker(authorization)).tenant

    async def asker(self, authorization: str | None) -> Asker:
        """Who sends an `Authorization` header. Raises `Unauthenticated`."""
        if self._off:
            return NOBODY_ELSE
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated(
                "send `Authorization: Bearer <key>`; `welip key create --tenant NAME` makes a key",
                field="Authorization",
            )
        hashed = digest(key.strip())
        now = time.monotonic()
        known = self._known.get(hashed)
        if known is not None and known[1] > now:
            return known[0]
        async with self._database.connection() as connection:
            found = await keys.owner(connection, hashed)
        if found is None:
            self._known.pop(hashed, None)
            raise Unauthenticated("this API key is not known, or was revoked", field="Authorization")
        if len(self._known) >= REMEMBER_AT_MOST:
            self._known.clear()
        asker = Asker(*found)
        self._known[hashed] = (asker, now + REMEMBER_S)
        return asker
