"""Connects to receivers, and only to addresses that were checked after DNS resolution.

The connection goes to the very address that was checked, so a name that resolves elsewhere a moment later (DNS
rebinding) gains nothing. TLS still proves the name. The libraries that promise the same are young and have no
allow-list; replacing the place where httpcore opens a connection is enough.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpcore

from infra.webhooks.addresses import may_connect
from infra.webhooks.allowed import Allowed

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, best first."""

TRIED: Final = 4
"""How many addresses of one host are tried."""
TRY_S: Final = 4.0
"""Seconds that each address has to accept a connection, so that an attempt's timeout leaves room for a second one."""


class AddressRefused(Exception):
    """The host resolves only to addresses that webhooks must not reach."""


class NameUnknown(Exception):
    """The host's name resolves to no address."""


class Resolver:
    """The system's resolver, with each lookup in a thread.

    The threads are its own because the event loop has few, and a name server that never answers occupies one for half
    a minute. That must not delay lookups for other receivers.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="webhook-dns")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses as strings. Raises `OSError`."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _addresses, host, port)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Close without waiting for lookups that are still running."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class CheckedConnections(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore, and only to permitted addresses."""

    def __init__(self, resolve: Resolve, allow: Allowed) -> None:
        self._resolve = resolve
        self._allow = allow
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first permitted address of `host` that answers.

        Raises `NameUnknown`, `AddressRefused`, `httpcore.ConnectError`, `httpcore.ConnectTimeout`.
        """
        failure: Exception = NameUnknown(host)
        for address in await self._permitted(host, port):
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout=TRY_S, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Always refused: no receiver is a socket on this machine."""
        raise AddressRefused(path)

    async def sleep(self, seconds: float) -> None:
        """Called by httpcore between retries, which we never ask for."""
        await self._backend.sleep(seconds)

    async def _permitted(self, host: str, port: int) -> list[str]:
        try:
            found: Sequence[str] = [str(ipaddress.ip_address(host))]
        except ValueError:
            try:
                found = await self._resolve(host, port)
            except (OSError, UnicodeError) as error:
                raise NameUnknown(host) from error
        permitted = [address for address in found if may_connect(ipaddress.ip_address(address), host, self._allow)]
        if found and not permitted:
            raise AddressRefused(host)
        return permitted[:TRIED]
