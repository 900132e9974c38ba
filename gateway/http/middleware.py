"""Wraps every request: limits its body, and measures it."""

import re
import time
from functools import cache
from typing import Final

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.errors import TooLarge
from gateway.http.problems import problem
from infra.metrics import REQUEST_SECONDS, REQUESTS
from infra.telemetry import span, tracing

UPLOADS: Final = re.compile(r"/v1/files|/v1/uploads/[^/]+/parts")
"""The paths whose body may be larger; their routes count the bytes themselves while they stream."""


NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
"""On every answer: browsers must not guess another type for what a tenant stored."""


class BodyLimit:
    """Refuses a body over `limit` bytes: by its announced length before reading it, or as soon as it is exceeded."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or UPLOADS.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._limit:
                await self._refusal()(scope, receive, send)
                return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise TooLarge(self._sentence(), field="body")
            return message

        await self._app(scope, counted, send)

    def _sentence(self) -> str:
        return f"the body is larger than {self._limit} bytes: upload large documents with POST /v1/files"

    def _refusal(self) -> ASGIApp:
        return problem(413, TooLarge.code, self._sentence(), field="body", headers={"Connection": "close"})


class Measured:
    """Counts and times requests by route, and opens the span that a job's trace begins with."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], NOSNIFF]
            await send(message)

        try:
            if tracing():
                traceparent = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"traceparent"), None)
                with span(f"{scope['method']} {scope['path']}", traceparent=traceparent):
                    await self._app(scope, receive, noted)
            else:
                await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")  # not the path: labels must be few
            answered, seconds = _measures(scope["method"], route, status)
            answered.inc()
            seconds.observe(time.perf_counter() - began)


@cache
def _measures(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Finding a metric by its labels costs more than counting; there are few of them."""
    return REQUESTS.labels(method, route, status), REQUEST_SECONDS.labels(method, route)
