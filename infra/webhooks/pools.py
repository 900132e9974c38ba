"""Connections to receivers, kept for the next delivery in a small pool for each destination.

One large pool would do if httpcore's were not made for few requests at once: each request scans every connection, and
requests that find the same idle connection all wait for it, wake up and scan again.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpcore

IDLE_S: Final = 15.0
"""How many seconds an idle connection is kept."""


@dataclass(slots=True)
class _Pool:
    connections: httpcore.AsyncConnectionPool
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)


class Pools:
    """The pools of all destinations; `backend` opens their connections."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend
        self._tls = httpcore.default_ssl_context()  # made once, because loading the certificates takes long
        self._pools: dict[str, _Pool] = {}

    @asynccontextmanager
    async def of(self, destination: str) -> AsyncIterator[httpcore.AsyncConnectionPool]:
        """The pool of a destination, for the duration of one request."""
        pool = self._pools.get(destination)
        if pool is None:
            pool = self._pools[destination] = _Pool(
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls,
                    max_connections=None,  # the sender limits time itself
                    keepalive_expiry=IDLE_S,
                    network_backend=self._backend,
                )
            )
        pool.users += 1
        try:
            yield pool.connections
        finally:
            pool.users -= 1
            pool.used_at = time.monotonic()

    async def close_idle(self) -> None:
        """Close the pools that have not been used for `IDLE_S` seconds."""
        before = time.monotonic() - IDLE_S
        for name in [name for name, pool in self._pools.items() if not pool.users and pool.used_at < before]:
            await self._pools.pop(name).connections.aclose()

    async def close(self) -> None:
        """Close all pools."""
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.connections.aclose()
