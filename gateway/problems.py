"""Errors become RFC 9457 `application/problem+json`: the only place where a code meets an HTTP status."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from schemas.errors import (
    Conflict,
    DependencyUnavailable,
    InvalidInput,
    JobError,
    NotFound,
)

log = structlog.get_logger(__name__)


class Unauthenticated(JobError):
    """The request carries no valid API key."""

    code = "unauthenticated"


class TooLarge(InvalidInput):
    """The request's body or file is larger than this deployment accepts."""

    code = "too_large"


class RangeUnsatisfiable(InvalidInput):
    """The `Range` header asks for bytes beyond the end."""

    code = "range_unsatisfiable"


class NotDoneYet(DependencyUnavailable):
    """An answer that a job must give did not come in time."""

    code = "not_done_yet"


STATUS: Final[tuple[tuple[type[JobError], int], ...]] = (
    (Unauthenticated, 401),
    (TooLarge, 413),
    (RangeUnsatisfiable, 416),
    (NotFound, 404),
    (Conflict, 409),
    (DependencyUnavailable, 503),
    (InvalidInput, 422),
)
"""The first class that an error is an instance of gives its status; none of them: 500."""

TITLES: Final[Mapping[int, str]] = {
    400: "Bad request",
    401: "Not authenticated",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    416: "Range not satisfiable",
    422: "Not valid",
    500: "Internal error",
    503: "Unavailable",
}
RETRY_AFTER_S: Final = 2


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    remedy: str | None = None,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "field": field,
        "remedy": remedy,
    }
    if errors:
        body["errors"] = errors
    known = dict(headers or {})
    if status == 503:
        known["Retry-After"] = str(RETRY_AFTER_S)
    if status == 401:
        known["WWW-Authenticate"] = "Bearer"
    return Response(orjson.dumps(body), status, known, "application/problem+json")


def status_of(error: JobError) -> int:
    """The HTTP status that an error is answered with."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


async def _job_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, JobError)
    status = status_of(error)
    remedy = "try again; a job that was accepted is kept" if status == 503 else None
    return problem(status, error.reason, error.message, field=error.field, remedy=remedy)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return problem(
            400, "malformed_json", f"the body is not JSON: {found[0].get('ctx', {}).get('error', '')}", field="body"
        )
    errors = [{"field": _field(e["loc"]), "message": _sentence(e)} for e in found[:20]]
    first = errors[0]
    unknown_kind = found[0]["type"] in ("union_tag_invalid", "union_tag_not_found")
    return problem(
        422,
        "unknown_kind" if unknown_kind else "invalid_input",
        first["message"],
        field="kind" if unknown_kind else first["field"],
        remedy="correct the field and send the request again; nothing was stored",
        errors=errors,
    )


def _field(location: tuple[int | str, ...]) -> str:
    """`input.documents[3].text`, without FastAPI's `body` and the tag of the union."""
    parts = list(location)
    where = str(parts.pop(0)) if parts and parts[0] in ("body", "query", "path", "header") else ""
    if where == "body" and parts and "input" not in parts[:1] and parts[1:2]:
        parts.pop(0)  # the kind, which names the branch of the union
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or where


def _sentence(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    return "this field is not known here; remove it" if error["type"] == "extra_forbidden" else message


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    detail = str(error.detail)
    if error.status_code == 400 and "parsing the body" in detail:
        return problem(400, "malformed_json", "the body is not JSON in UTF-8", field="body")
    if error.status_code == 404:
        detail = f"there is nothing at {request.url.path}"
    return problem(error.status_code, codes.get(error.status_code, "error"), detail, headers=error.headers)


async def _defect(request: Request, error: Exception) -> Response:
    log.error("request.defect", path=request.url.path, exc_info=error)
    return problem(500, "internal_error", "a defect of the server; its log holds the details")


def install(app: FastAPI) -> None:
    """Answer every error as a problem."""
    app.add_exception_handler(JobError, _job_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)
