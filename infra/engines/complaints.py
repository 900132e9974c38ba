"""Turns an engine's complaint into one of our errors: by status, and by the error object wherever it appears."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from schemas.errors import (
    DependencyUnavailable,
    EngineClosed,
    EngineFailed,
    EngineOverloaded,
    EngineRefused,
    EngineReplyBroken,
    EngineTrouble,
    JobError,
)

MAX_RETRY_AFTER: Final = timedelta(minutes=10)

_SHOWN: Final = 500
_NO_QUOTA: Final = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance")
_TOO_LONG: Final = ("context_length_exceeded", "maximum context length", "context window")
_STATUS_OF: Final[Mapping[str, int]] = {
    "rate_limit": 429,
    "ratelimit": 429,
    "resource_exhausted": 429,
    "too_many_requests": 429,
    "overloaded": 503,
    "unavailable": 503,
    "timeout": 504,
    "authentication": 401,
    "permission": 403,
    "not_found": 404,
    "notfound": 404,
    "context_length_exceeded": 400,
    "invalid_argument": 400,
    "invalid_request": 400,
    "badrequest": 400,
    "bad_request": 400,
    "validation": 400,
}
"""What names of error types begin with or hold, in the words of OpenAI, Anthropic, Google, vLLM and TGI."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """An engine's error: its sentence, its names for it (type, code), the parameter at fault, and its own status."""

    message: str
    names: str = ""
    param: str = ""
    status: int | None = None


def complaint(body: Any) -> Complaint | None:
    """The error in a JSON body, None if there is none."""
    match body:
        case [dict() as first, *_]:  # Google's
            return complaint(first)
        case {"error": dict() as error}:
            return _read(error)
        case {"error": str() as message} if message:
            return Complaint(message, names=str(body.get("error_type") or ""))
        case {"object": "error"}:  # vLLM's of before
            return _read(body)
        case {"choices": [{"error": dict() as error}, *_]}:  # OpenRouter's, of a reply that broke off
            return _read(error)
    return None


def as_error(status: int, told: Complaint, headers: Mapping[str, str]) -> JobError:
    """The error that a reply of `status` is."""
    message = f"the engine answered {status}: {told.message[:_SHOWN]}"
    names, sentence = told.names.lower(), told.message.lower()
    own = told.status or next((code for name, code in _STATUS_OF.items() if name in names), None)
    # Google says the same sentence of a limit that passes within a minute.
    spent = "exceeded your current quota" in sentence and "resource_exhausted" not in names
    if status == 402 or spent or any(name in names for name in _NO_QUOTA):
        return EngineTrouble(message, code="engine_quota_exceeded", retry_after=retry_after(headers))
    if status != 429 and any(words in sentence or words in names for words in _TOO_LONG):
        return EngineRefused(message)
    # Proxies put an engine's refusal behind a 500, and some servers put any error behind a 200.
    if status < 300 or (status == 500 and own is not None):
        status = own or status
    match status:
        case 429 | 503 | 529:
            return EngineOverloaded(message, retry_after=retry_after(headers))
        case 408 | 409 | 425:
            return EngineTrouble(message, retry_after=retry_after(headers))
        case 401 | 403 | 404 | 405 | 410:
            return EngineClosed(message)
        case 500:
            return EngineFailed(message)
    if status > 500:
        error = DependencyUnavailable(message)
        error.retry_after = retry_after(headers)
        return error
    return EngineRefused(message) if status >= 300 else EngineReplyBroken(message)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Seconds or a date (RFC 9110, 10.2.3), or OpenAI's milliseconds; None where there is neither."""
    if (value := _number(headers.get("retry-after-ms"))) is not None:
        pause = value / 1000
    elif (value := _number(headers.get("retry-after"))) is not None:
        pause = value
    else:
        try:
            pause = (parsedate_to_datetime(headers.get("retry-after", "")) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # no date, or one without a zone
            return None
    return timedelta(seconds=min(max(pause, 0.0), MAX_RETRY_AFTER.total_seconds()))


def _read(error: Mapping[str, Any]) -> Complaint:
    message = error.get("message") or error.get("detail") or error.get("type") or error.get("code") or "no reason given"
    named = (error.get("type"), error.get("code"), error.get("status"))
    return Complaint(
        str(message),
        " ".join(str(name) for name in named if isinstance(name, str)),
        str(error.get("param") or ""),
        next((code for code in map(_status, (error.get("code"), error.get("status"))) if code), None),
    )


def _status(value: Any) -> int | None:
    number = _number(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    return int(number) if number is not None and 400 <= number < 600 else None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
