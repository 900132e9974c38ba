"""One URL of an engine elsewhere that takes JSON and gives JSON, with its refusals as errors of ours."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from schemas.errors import DependencyUnavailable, EngineOverloaded, JobError

MAX_RETRY_AFTER: Final = timedelta(minutes=10)


class Endpoint:
    """`timeout`: seconds for connecting, and for each silence while the answer is read. `api_key`: a bearer token."""

    def __init__(self, url: str, api_key: str | None, timeout: float) -> None:
        self._url = url
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout)

    async def post(self, body: dict[str, Any]) -> Any:
        """What the engine answers.

        Raises `EngineOverloaded` (429, 503; with the engine's `Retry-After`), `DependencyUnavailable` (no connection,
        timeout, other 5xx, no JSON) and `JobError` with code `engine_refused` and the engine's message (4xx).
        """
        try:
            response = await self._client.post(self._url, json=body)
        except httpx.TimeoutException as error:
            raise DependencyUnavailable("the engine did not answer in time") from error
        except httpx.TransportError as error:
            raise DependencyUnavailable(f"the engine cannot be reached: {error or type(error).__name__}") from error
        if response.is_success:
            try:
                return response.json()
            except ValueError as error:
                raise DependencyUnavailable("the engine's answer is no JSON") from error
        message = f"the engine answered {response.status_code}: {_complaint(response)}"
        if response.status_code in (429, 503):
            raise EngineOverloaded(message, retry_after=_retry_after(response.headers.get("retry-after")))
        if response.status_code >= 500:
            raise DependencyUnavailable(message)
        raise JobError(message, code="engine_refused")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def versioned(base_url: str) -> str:
    """The base of OpenAI's calls, for an address given with or without `/v1`."""
    return f"{base_url.rstrip('/').removesuffix('/v1')}/v1"


def _retry_after(value: str | None) -> timedelta | None:
    """Seconds or a date (RFC 9110, 10.2.3); None where there is neither."""
    if value is None:
        return None
    try:
        pause = timedelta(seconds=int(value))
    except ValueError:
        try:
            pause = parsedate_to_datetime(value) - datetime.now(UTC)
        except (ValueError, TypeError):  # no date, or one without a zone
            return None
    return min(max(pause, timedelta(0)), MAX_RETRY_AFTER)


def _complaint(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        body = None
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or response.text or response.reason_phrase)[:500]
