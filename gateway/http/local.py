"""Without authentication, only this machine's own programs are answered, and no web page in its browser.

A page of the internet reaches a loopback address by giving its own name that address (DNS rebinding), or by posting a
form there (cross-site request forgery). The first shows in `Host`, the second in `Origin`, which pages cannot choose.
A page of another server on this machine is foreign too: an `Origin` must be this server's own, with its port.
"""

from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.problems import problem
from infra.loopback import is_loopback


class LocalOnly:
    """Refuses requests that name a host other than this machine; wraps everything when authentication is off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            origins = [value for name, value in scope["headers"] if name == b"origin"]
            if not all(map(_local, hosts)):
                await _refusal("Host")(scope, receive, send)
                return
            if any(_authority(origin) not in map(_authority, hosts) for origin in origins):
                await _refusal("Origin")(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _authority(value: bytes) -> bytes:
    """Name and port of a `Host` (`localhost:8080`) or an `Origin` (`http://localhost:8080`)."""
    return value.rpartition(b"://")[2].lower()


@lru_cache(1024)
def _local(value: bytes) -> bool:
    """Whether a `Host` names this machine."""
    try:
        return is_loopback(urlsplit(f"//{value.decode('latin-1')}").hostname or "")
    except ValueError:
        return False


def _refusal(header: str) -> ASGIApp:
    return problem(
        403,
        "not_local",
        "without authentication this server answers only programs on its own machine",
        field=header,
        remedy="ask http://127.0.0.1 or http://localhost; or start the server with WELIP_AUTH=on, and send a key",
    )
