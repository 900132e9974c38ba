"""How a route reads its JSON body: strictly, and with a problem for every refusal."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from gateway.http.problems import SHOWN
from schemas.errors import InvalidInput

T = TypeVar("T")


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


def strictly(adapter: TypeAdapter[T], body: bytes) -> T:
    """What a body says, with the types of the document: no "5" for 5, no false for 0.

    For routes that do without FastAPI's reading. Raises `RequestValidationError`, as that does.
    """
    try:
        if body:
            orjson.loads(body)  # strict: Pydantic's reader takes NaN
        return adapter.validate_json(body, strict=True)
    except orjson.JSONDecodeError as error:
        found = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "", "ctx": {"error": error.msg}}
        raise RequestValidationError([found]) from error
    except ValidationError as error:
        raise refused(error, "body") from error


def refused(error: ValidationError, *where: str) -> RequestValidationError:
    """The error of a request whose part at `where` is not valid."""
    errors = error.errors(include_url=False, include_input=False)[:SHOWN]
    return RequestValidationError([{**one, "loc": (*where, *one["loc"])} for one in errors])
