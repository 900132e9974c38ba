"""Every error is answered with one body for two readers: an RFC 9457 problem whose member `error` is OpenAI's."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from gateway.http.errors import LimitReached, RangeUnsatisfiable, status_of
from schemas.errors import InvalidInput, JobError
from schemas.kinds.registry import KINDS, submittable

log = structlog.get_logger(__name__)


TITLES: Final[Mapping[int, str]] = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    416: "Range not satisfiable",
    422: "Not valid",
    429: "Limit reached",
    431: "Too large",
    500: "Internal error",
    503: "Unavailable",
}
REMEDIES: Final[Mapping[int, str]] = {
    403: "use a key of an operator: `welip key create --tenant NAME --operator` makes one",
    429: "try again after the seconds that Retry-After says; nothing was stored",
    503: "try again; a job that was accepted is kept",
}
TYPES: Final[Mapping[int, str]] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""What OpenAI calls a class of errors, where it is neither `invalid_request_error` nor `server_error`."""

REPEATED: Final = frozenset({408, 409, 429})
"""Besides 5xx, the statuses on which OpenAI's clients retry, even POST, unless `x-should-retry` says no."""

RETRY_AFTER_S: Final = 2
SHOWN: Final = 20
"""Errors of one request that its answer lists."""
SAID: Final = 1_000
"""Characters of what is said of a request: it may quote a name of a megabyte."""

UNKNOWN_KIND: Final = ("union_tag_invalid", "union_tag_not_found")


def document(
    status: int, code: str, detail: str, *, field: str | None = None, remedy: str | None = None
) -> dict[str, Any]:
    """The body of an error. OpenAI's clients show only `error.message`, so it includes the remedy."""
    detail, field = _short(detail), field and _short(field)
    return {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "field": field,
        "remedy": remedy,
        "error": {
            "message": f"{detail}; {remedy}" if remedy else detail,
            "type": TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
            "param": field,
            "code": code,
        },
    }


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    remedy: str | None = None,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
    retryable: bool = True,
) -> Response:
    """A problem document. When not `retryable`, it tells clients that retry by status alone not to."""
    body = document(status, code, detail, field=field, remedy=remedy)
    if errors:
        body["errors"] = errors
    known = dict(headers or {})
    if not retryable and (status in REPEATED or status >= 500):
        known["x-should-retry"] = "false"
    if status == 503:
        known["Retry-After"] = str(RETRY_AFTER_S)
    if status == 401:
        known["WWW-Authenticate"] = "Bearer"
    return Response(orjson.dumps(body), status, known, "application/problem+json")


async def _job_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, JobError)
    status = status_of(error)
    headers = {}
    if isinstance(error, RangeUnsatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, LimitReached):
        headers["Retry-After"] = str(error.retry_after_s)
    return problem(
        status,
        error.reason,
        error.message,
        field=error.field,
        remedy=REMEDIES.get(status),
        headers=headers,
        retryable=error.retryable,
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return _malformed(f"the body is not JSON: {found[0].get('ctx', {}).get('error', '')}")
    errors = [{"field": _short(_field(e)), "message": _short(_sentence(e))} for e in found[:SHOWN]]
    return problem(
        422,
        _code(found[0]),
        errors[0]["message"],
        field=errors[0]["field"],
        remedy="correct the field and send the request again; nothing was stored",
        errors=errors,
    )


def _short(text: str) -> str:
    return text if len(text) <= SAID else f"{text[: SAID - 4]} ..."


def _code(error: Mapping[str, Any]) -> str:
    if error["type"] not in UNKNOWN_KIND:
        return InvalidInput.code
    return "kind_not_submittable" if error.get("ctx", {}).get("tag") in KINDS else "unknown_kind"


def _malformed(why: str) -> Response:
    return problem(400, "malformed_json", why, field="body", remedy="send one JSON object in UTF-8 (RFC 8259)")


def _field(error: Mapping[str, Any]) -> str:
    """`input.documents[3].text`, without FastAPI's `body` and the tag of the union."""
    if error["type"] in UNKNOWN_KIND:
        return "kind"
    parts = list(error["loc"])
    where = str(parts.pop(0)) if parts and parts[0] in ("body", "query", "path", "header") else ""
    if where == "body" and len(parts) > 1 and parts[0] in KINDS:
        parts.pop(0)  # it names the branch of the union
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or where


def _sentence(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "this field is not known here; remove it"
        case "union_tag_invalid":
            context = error["ctx"]
            if context["tag"] in KINDS:
                return (
                    f"jobs of kind {context['tag']!r} can only be made by other jobs: submit {context['expected_tags']}"
                )
            return f"unknown kind {context['tag']!r}: one of {context['expected_tags']}"
        case "union_tag_not_found":
            return f"name the job's kind: one of {', '.join(kind.name for kind in submittable())}"
    return str(error["msg"]).removeprefix("Value error, ")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    detail = str(error.detail)
    if error.status_code == 400 and "parsing the body" in detail:
        return _malformed("the body is JSON that cannot be read: it is nested too deeply")
    if error.status_code == 404:
        detail = f"there is nothing at {request.url.path}"
    headers = {"Allow": _methods(request)} if error.status_code == 405 else error.headers
    return problem(error.status_code, codes.get(error.status_code, "error"), detail, headers=headers)


def _methods(request: Request) -> str:
    """Every method of the path (RFC 9110, 10.2.1): each has a route of its own, Starlette names one route's alone."""
    path = getattr(request.scope.get("route"), "path", None)
    routes = (route for route in request.app.routes if isinstance(route, Route) and route.path == path)
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


async def _left(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client left in the middle of its request: nobody reads this


async def _defect(request: Request, error: Exception) -> Response:
    log.error("request.defect", path=request.url.path, exc_info=error)
    return problem(500, "internal_error", "a defect of the server; its log holds the details", retryable=False)


def install(app: FastAPI) -> None:
    """Answer every error as a problem."""
    app.add_exception_handler(JobError, _job_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _defect)
