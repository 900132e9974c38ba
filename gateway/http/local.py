"""Without authentication, only this machine's own programs are answered, and no web page in its browser.

A page of the internet reaches a loopback address by giving its own name that address (DNS rebinding), or by posting a
form there (cross-site request forgery). The first shows in `Host`, the second in `Origin`, which pages cannot choose.
"""

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.problems import problem
from infra.loopback import is_loopback

NAMED_BY: Final = {b"host": "Host", b"origin": "Origin"}


class LocalOnly:
    """Refuses requests that name another host than this machine; around everything when authentication is off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name in NAMED_BY and not _local(value):
                    await _refusal(NAMED_BY[name])(scope, receive, send)
                    return
        await self._app(scope, receive, send)


@lru_cache(1024)
def _local(value: bytes) -> bool:
    """Whether a `Host` (`localhost:8080`) or an `Origin` (`http://localhost:8080`) is of this machine."""
    text = value.decode("latin-1")
    try:
        return is_loopback(urlsplit(text if "://" in text else f"//{text}").hostname or "")
    except ValueError:
        return False


def _refusal(header: str) -> ASGIApp:
    return problem(
        403,
        "not_local",
        "without authentication this server answers programs of its own machine only",
        field=header,
        remedy="ask http://127.0.0.1 or http://localhost; or start the server with WELIP_AUTH=on, and send a key",
    )
