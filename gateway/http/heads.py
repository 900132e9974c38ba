"""HEAD is GET without the body (RFC 9110, 9.3.2): every route that has GET has HEAD."""

from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ASKED: Final = "welip.head"


def is_head(request: Request) -> bool:
    """Whether the body of the answer will be dropped, so that the work of making it can be skipped."""
    return ASKED in request.scope


class HeadAsGet:
    """Routes a HEAD like its GET, and sends only the head of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET", ASKED: True}, receive, without_body)
