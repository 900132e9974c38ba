"""Connections to receivers, kept for the next delivery: a small pool for each destination.

One large pool would do the same, if httpcore's were not made for few requests at once: each request looks at every
connection, and requests that find the same one idle all wait for it, get up and look again.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpcore

IDLE_S: Final = 15.0
"""How long an idle connection is kept."""


@dataclass(slots=True)
class _Pool:
    connections: httpcore.AsyncConnectionPool
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)


class Pools:
    """The pools of all destinations, whose connections are opened by `backend`."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend
        self._tls = httpcore.default_ssl_context()  # reading the certificates takes long: once, not for each connection
        self._pools: dict[str, _Pool] = {}

    @asynccontextmanager
    async def of(self, destination: str) -> AsyncIterator[httpcore.AsyncConnectionPool]:
        """The pool of a destination, for one request."""
        pool = self._pools.get(destination)
        if pool is None:
            pool = self._pools[destination] = _Pool(
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls,
                    max_connections=None,  # the sender has its own time limit
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
        """Close the pools that were not used for `IDLE_S` seconds."""
        before = time.monotonic() - IDLE_S
        for name in [name for name, pool in self._pools.items() if not pool.users and pool.used_at < before]:
            await self._pools.pop(name).connections.aclose()

    async def close(self) -> None:
        """Close all."""
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.connections.aclose()
