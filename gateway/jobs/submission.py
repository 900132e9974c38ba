"""How `POST /v1/jobs` reads its request: key, limits, body and headers, in half of FastAPI's time."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from gateway.http.bodies import JsonRoute, require_json
from gateway.http.problems import SHOWN
from gateway.services import services_of
from schemas.jobs import Submission, SubmitJob

SUBMISSION: Final[TypeAdapter[Submission]] = TypeAdapter(SubmitJob)


class SubmitRoute(JsonRoute):
    """The route of `POST /v1/jobs`: its signature documents it, and this resolves it, in half of FastAPI's time.

    FastAPI's resolving of body, headers and dependencies costs more than everything else in a submission.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Raises what FastAPI's own handler would: `RequestValidationError`, `JSONDecodeError`, and the endpoint's."""

        async def resolved(request: Request) -> Response:
            services = await services_of(request)
            headers = request.headers
            tenant = await services.keys.tenant(
                headers.get("authorization")
            )  # first: a stranger learns nothing of bodies
            await services.limits.submission(tenant)
            body = await request.body()
            if body:
                require_json(request)
            answer: Response = await self.endpoint(
                body=_submission(body),
                services=services,
                tenant=tenant,
                idempotency_key=headers.get("idempotency-key"),
                sent=body,
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
        errors = error.errors(include_url=False, include_input=False)[:SHOWN]
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in errors]) from error
