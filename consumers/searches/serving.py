"""A worker's searches as a whole: listens, tells gateways where through Postgres, and drains when it stops."""

import asyncio
import socket
from typing import Final

import structlog

from infra.postgres.database import Database
from infra.postgres.queries import search_servers
from infra.searches.server import Answer, SearchServer
from infra.searches.wire import PROTOCOL
from infra.settings import SearchSettings
from schemas.errors import DependencyUnavailable

log = structlog.get_logger(__name__)

ANNOUNCE_EVERY_S: Final = search_servers.SILENT_S / 4


class SearchServing:
    """`start` it, let it `run` beside the consumers, and `drain` it with them."""

    def __init__(self, answer: Answer, database: Database, settings: SearchSettings, *, worker: str) -> None:
        self._server = SearchServer(answer)
        self._database = database
        self._settings = settings
        self._worker = worker
        self._port = 0

    async def start(self) -> None:
        """Listen. Raises `DependencyUnavailable` when the port is taken."""
        self._port = await self._server.start(self._settings.host, self._settings.port)

    async def run(self) -> None:
        """Announce the worker until cancelled. While Postgres is away, gateways go on with what they know."""
        host = self._settings.address or _reached_at(self._settings.host)
        while True:
            try:
                async with self._database.connection() as connection:
                    await search_servers.announce(
                        connection, self._worker, PROTOCOL, host, self._port, self._server.token
                    )
            except DependencyUnavailable as error:
                log.warning("search.not_announced", error=error.message)
            await asyncio.sleep(ANNOUNCE_EVERY_S)

    async def drain(self, limit_s: float) -> None:
        """Take no more searches, and let those that run end within `limit_s` seconds."""
        try:
            async with self._database.connection() as connection:
                await search_servers.withdraw(connection, self._worker)
        except DependencyUnavailable as error:
            log.warning("search.not_withdrawn", error=error.message)
        await self._server.drain(limit_s)


def _reached_at(host: str) -> str:
    """Where others reach what listens on `host`; what listens everywhere, at the address of this machine's name."""
    if host not in ("0.0.0.0", "::"):
        return host
    *_, address = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)[0]
    return str(address[0])
