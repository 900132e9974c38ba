"""One URL of an engine elsewhere that takes JSON and gives JSON or events, with its refusals as errors of ours."""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from httpx_sse import EventSource, SSEError

from infra.engines.clients import Clients
from infra.engines.complaints import Complaint, as_error, complaint
from schemas.errors import DependencyUnavailable, EngineReplyBroken, JobError

EVENTS = "text/event-stream"


class RefusedBodyError(Exception):
    """The engine refuses the request and says why; `error` is the job's error."""

    def __init__(self, error: JobError, why: Complaint) -> None:
        super().__init__(error.message)
        self.error = error
        self.why = why


class Endpoint:
    """`timeout`: seconds for connecting, and for each silence while the answer is read. `api_key`: a bearer token."""

    def __init__(
        self, url: str, api_key: str | None, timeout: float, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self._url = url
        bearer = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._clients = Clients({**bearer, **(headers or {})}, timeout)

    async def post(self, body: dict[str, Any]) -> Any:
        """What the engine answers.

        Raises `EngineOverloaded` (429, 503, 529; with the engine's `Retry-After`), `DependencyUnavailable` (no
        connection, timeout, other 5xx), `EngineTrouble` (408, 409, 425, no quota, no JSON) and `EngineRefused` with the
        engine's message (other 4xx), wherever the error appears.
        """
        async with _told(), self.open(body) as response:
            return await whole(response)

    @contextlib.asynccontextmanager
    async def open(self, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        """The response, its body unread. Raises as `post` does, and `RefusedBodyError` for 400 and 422."""
        async with (
            _reached(),
            self._clients.one() as client,
            client.stream("POST", self._url, json=body) as response,
        ):
            if not response.is_success:
                await response.aread()
                found = complaint(_json(response)) or Complaint(_text(response))
                error = as_error(response.status_code, found, response.headers)
                raise RefusedBodyError(error, found) if response.status_code in (400, 422) else error
            yield response

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()


async def whole(response: httpx.Response) -> Any:
    """The JSON of a response. Raises the error it contains, and `EngineReplyBroken` if it is not JSON."""
    await response.aread()
    body = _json(response)
    if body is None:
        raise EngineReplyBroken(
            f"the engine's reply is not JSON; is this the right address? It begins: {_text(response)[:100]!r}",
            code="engine_reply_unreadable",
        )
    return checked(body)


async def events(response: httpx.Response) -> AsyncGenerator[Any]:
    """The JSON of each event, and None for `[DONE]`, the last. Raises the error that an event contains."""
    try:
        async with contextlib.aclosing(EventSource(response).aiter_sse()) as found:
            async for event in found:
                if event.data.strip() == "[DONE]":
                    yield None
                    return
                if event.data.strip():
                    yield checked(json.loads(event.data))
    except (SSEError, ValueError) as error:
        raise unreadable("events") from error


def checked(body: Any) -> Any:
    """The body, unless it contains an error in spite of its status."""
    if (found := complaint(body)) is not None:
        raise as_error(200, found, {})
    return body


def unreadable(protocol: str) -> EngineReplyBroken:
    """A reply that does not follow a protocol."""
    return EngineReplyBroken(
        f"the engine's reply does not follow the {protocol} protocol", code="engine_reply_unreadable"
    )


def address(base_url: str, call: str, *, version: str = "/v1") -> str:
    """The address of a call, for a base such as `https://host`, `https://host/v1` or `https://host/v1beta/openai`.

    A base without a path has its calls under `version`. A query (`?api-version=...`) stays, so does a whole address.
    """
    parts = urlsplit(base_url.strip())
    path = parts.path.rstrip("/").removesuffix(f"/{call}") or version
    return parts._replace(path=f"{path}/{call}").geturl()


@contextlib.asynccontextmanager
async def _told() -> AsyncIterator[None]:
    try:
        yield
    except RefusedBodyError as refused:
        raise refused.error from refused


@contextlib.asynccontextmanager
async def _reached() -> AsyncIterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise DependencyUnavailable("the engine did not answer in time") from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise DependencyUnavailable(f"the engine cannot be reached: {error or type(error).__name__}") from error


def _json(response: httpx.Response) -> Any:
    """None if it is not JSON. UTF-8 whatever the header says, else as the header says."""
    for text in (response.content, response.text):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return None


def _text(response: httpx.Response) -> str:
    return response.text.strip() or response.reason_phrase
