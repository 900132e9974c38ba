"""How a route reads its JSON body: strictly, and with a problem for every refusal."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from schemas.errors import InvalidInput


class JsonRequest(Request):
    """A request whose JSON is RFC 8259 to the letter."""

    async def json(self) -> Any:
        """The body. Raises `json.JSONDecodeError`, also for lone surrogates, NaN and numbers beyond a double."""
        body = await self.body()
        orjson.loads(body)
        return json.loads(body)  # again, because orjson turns whole numbers over 64 bits into floats


class JsonRoute(APIRoute):
    """The route class of every router whose routes take JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given a body that has been read: FastAPI itself reports every failure to read as bad JSON.

        Raises `InvalidInput` for another content type, and whatever reading the body raises.
        """
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            request = JsonRequest(request.scope, request.receive)
            if self.body_field is not None and await request.body():
                require_json(request)
            return await handle(request)

        return checked


def require_json(request: Request) -> None:
    """Raise `InvalidInput` unless the body is announced as JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput("send the body with `Content-Type: application/json`", field="Content-Type")
