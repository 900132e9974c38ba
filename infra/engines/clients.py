"""The HTTP clients of an endpoint: each request under way has one, and with it a connection, to itself.

httpx's pool looks at all its connections for each request, and for each idle one at all of them once more. With a few
dozen requests under way that took more processor time than everything else about a request.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import httpx

IDLE_S: Final = 5.0
"""How long a connection is kept that no request needs."""

UNLIMITED: Final = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=IDLE_S)
"""How many requests go out at once is up to the model's limits: one that waited for a connection here would seem to
meet an engine that is silent, and a connection that is closed after each request costs another handshake.
"""


class _Idle(NamedTuple):
    client: httpx.AsyncClient
    since: float


class Clients:
    """For one event loop. `timeout`: seconds for connecting, and for each silence."""

    def __init__(self, headers: Mapping[str, str], timeout: float) -> None:
        self._headers = dict(headers)
        self._timeout = timeout
        self._tls = httpx.create_ssl_context()  # made once, because loading the certificates takes long
        self._idle: deque[_Idle] = deque()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        """The client that was used last, or a new one when all are in use."""
        client = self._idle.pop().client if self._idle else self._made()
        try:
            yield client
        finally:
            now = time.monotonic()
            self._idle.append(_Idle(client, now))
            spare = []
            while now - self._idle[0].since > IDLE_S:
                spare.append(self._idle.popleft())
            for one in spare:
                await one.client.aclose()

    async def close(self) -> None:
        """Close the connections. No request may be under way."""
        while self._idle:
            await self._idle.pop().client.aclose()

    def _made(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(headers=self._headers, timeout=self._timeout, limits=UNLIMITED, verify=self._tls)
