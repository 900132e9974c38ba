"""How a route reads its JSON body: strictly, and with every refusal as the problem it is."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, Final

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from gateway.services import services
from schemas.errors import InvalidInput
from schemas.jobs import Submission, SubmitJob


class JsonRequest(Request):
    """A request whose JSON is RFC 8259 to the letter."""

    async def json(self) -> Any:
        """The body. Raises `json.JSONDecodeError`, also for lone surrogates, NaN and numbers beyond a double."""
        body = await self.body()
        orjson.loads(body)
        return json.loads(body)  # again, because orjson makes floats of whole numbers over 64 bits


class JsonRoute(APIRoute):
    """The route class of every router whose routes take JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given a body that is here already: FastAPI calls whatever stops its own reading bad JSON.

        Raises `InvalidInput` for a body of another content type, and what reading it raises.
        """
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            request = JsonRequest(request.scope, request.receive)
            if self.body_field is not None and await request.body():
                _require_json(request)
            return await handle(request)

        return checked


SUBMISSION: Final[TypeAdapter[Submission]] = TypeAdapter(SubmitJob)


class SubmitRoute(JsonRoute):
    """The route of `POST /v1/jobs`: its signature documents it, and this resolves it, in half of FastAPI's time.

    FastAPI's resolving of body, headers and dependencies costs more than everything else in a submission.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Raises what FastAPI's own handler would: `RequestValidationError`, `JSONDecodeError`, and the endpoint's."""

        async def resolved(request: Request) -> Response:
            parts = await services(request)
            headers = request.headers
            tenant = await parts.keys.tenant(headers.get("authorization"))  # first: a stranger learns nothing of bodies
            await parts.limits.submission(tenant)
            body = await request.body()
            if body:
                _require_json(request)
            answer: Response = await self.endpoint(
                body=_submission(body),
                parts=parts,
                tenant=tenant,
                idempotency_key=headers.get("idempotency-key"),
                prefer=headers.get("prefer"),
                traceparent=headers.get("traceparent"),
            )
            return answer

        return resolved


def _submission(body: bytes) -> Submission:
    try:
        if body:
            orjson.loads(body)  # strict: Pydantic's reader takes NaN
        return SUBMISSION.validate_json(body, strict=True)  # the types of the document: no "5" for 5, no false for 0
    except orjson.JSONDecodeError as error:
        found = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "", "ctx": {"error": error.msg}}
        raise RequestValidationError([found]) from error
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in errors]) from error


def _require_json(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput("send the body with `Content-Type: application/json`", field="Content-Type")
