"""What both clients share: the server's address, the key, how answers are read, and when to retry."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict, TypeVar

import httpx
from httpx_sse import EventSource
from pydantic import ValidationError

from producers.client.errors import ApiError, ConnectionFailed, StreamBroken, UnexpectedAnswer
from producers.client.requests import Request

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8080"

_TRY_AGAIN_LATER = frozenset({429, 503})
_GATEWAY_TROUBLE = frozenset({502, 504})


def resolve_url(base_url: str | None) -> str:
    """The server's URL: what is given, else WELIP_URL, else the local default."""
    return (base_url or os.environ.get("WELIP_URL") or DEFAULT_URL).rstrip("/")


def default_headers(api_key: str | None) -> dict[str, str]:
    """Authentication: the key that is given, else WELIP_API_KEY, else none."""
    key = api_key or os.environ.get("WELIP_API_KEY")
    return {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}


def timeouts(timeout: float, request: Request[Any]) -> httpx.Timeout:
    """`timeout` seconds for each step, at most 5 to connect, and for reading the server's own patience on top."""
    return httpx.Timeout(timeout, connect=min(5.0, timeout), read=timeout + request.patience_s)


def build(http: httpx.Client | httpx.AsyncClient, request: Request[Any], timeout: float) -> httpx.Request:
    """The request as httpx sends it; a file is streamed from its start, whatever was read of it before."""
    return http.build_request(
        request.method,
        request.path,
        params={k: str(v) for k, v in request.params.items()},
        json=request.json,
        headers=dict(request.headers),
        data=dict(request.form) if request.form is not None else None,
        files={"file": request.file} if request.file is not None else None,
        timeout=timeouts(timeout, request),
    )


def read(request: Request[T], response: httpx.Response) -> T:
    """The answer, parsed. Raises `ApiError` or `UnexpectedAnswer`."""
    check(response)
    try:
        return request.parse(response)
    except (ValidationError, ValueError) as error:
        raise UnexpectedAnswer(f"{request.method} {response.url} answered {_excerpt(response)}") from error


def check(response: httpx.Response) -> None:
    """Raise `ApiError` for a refusal whose body is read, `UnexpectedAnswer` for any other failure."""
    if response.is_success:
        return
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if response.status_code < 400 or not isinstance(problem, dict):
        if response.status_code < 500:
            raise UnexpectedAnswer(f"{response.url} answered {response.status_code} {_excerpt(response)}")
        problem = {}
    raise ApiError(
        response.status_code,
        str(problem.get("code") or f"http_{response.status_code}"),
        str(problem.get("detail") or problem.get("title") or f"the server answered {response.status_code}"),
        field=problem.get("field"),
        remedy=problem.get("remedy"),
        retry_after=_seconds(response.headers.get("retry-after")),
    )


def event_source(response: httpx.Response) -> EventSource:
    """The answer as server-sent events. Raises `UnexpectedAnswer` when it is something else."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        raise UnexpectedAnswer(f"{response.url} answered {response.headers.get('content-type')}, not an event stream")
    return EventSource(response)


def failure(error: httpx.TransportError, url: str, *, midway: bool = False) -> ConnectionFailed:
    """What a transport's error means to the caller; `midway`: the answer had begun."""
    sent = midway or not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        reason = f"timed out ({type(error).__name__})"
    return (StreamBroken if midway else ConnectionFailed)(url, reason, sent=sent)


def may_retry(request: Request[Any], budget_s: float) -> Callable[[Exception], bool | float]:
    """A stamina hook: False to give up, True to back off, or the seconds that the server asks for."""

    def decide(error: Exception) -> bool | float:
        if isinstance(error, ConnectionFailed):
            return request.repeatable or not error.sent
        if not isinstance(error, ApiError):
            return False
        if error.status in _TRY_AGAIN_LATER:
            if error.retry_after is None:
                return True
            return error.retry_after if error.retry_after <= budget_s else False
        return request.repeatable and error.status in _GATEWAY_TROUBLE

    return decide


class RetryTimes(TypedDict):
    """Arguments of `stamina.retry_context`, seconds."""

    attempts: int | None
    timeout: float | None
    wait_initial: float
    wait_max: float
    wait_jitter: float


def retry_times(budget_s: float) -> RetryTimes:
    """Tries for `budget_s` seconds, 0.1 to 2 seconds apart; one try when the budget is 0."""
    return {
        "attempts": None if budget_s > 0 else 1,
        "timeout": budget_s or None,
        "wait_initial": 0.1,
        "wait_max": 2.0,
        "wait_jitter": 0.1,
    }


def _seconds(retry_after: str | None) -> float | None:
    # RFC 9110, 10.2.3: seconds, or a date.
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _excerpt(response: httpx.Response) -> str:
    kind = response.headers.get("content-type", "no content type")
    return f"{kind}: {response.text[:120]!r}"
