"""Both clients against a scripted transport: it answers as a test says, and keeps what was sent."""

import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from operator import attrgetter
from typing import Any

import httpx
import pytest
import stamina

from producers.client.async_ import AsyncClient
from producers.client.sync import Client

ID = "job_" + "0" * 32


FILE = "file_" + "a" * 32


def job(state: str = "queued", **more: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "object": "job",
        "kind": "noop",
        "state": state,
        "created_at": "2026-11-20T00:00:00Z",
        "links": {"self": f"/v1/jobs/{ID}"},
        **more,
    }


def stored_file(name: str = "a.txt", size: int = 1) -> dict[str, Any]:
    return {"id": FILE, "object": "file", "filename": name, "purpose": "documents", "bytes": size}


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces that may break off with an error."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


class Script:
    """A transport that answers from a list, repeats the last answer, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]] = []
        self.sent: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def body(self, at: int = -1) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.sent[at].content)
        return body


class Caller:
    """Calls a method of either client and collects what it yields."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def __call__(self, name: str, *args: Any, **options: Any) -> Any:
        value = attrgetter(name)(self.client)(*args, **options)
        if inspect.isawaitable(value):
            return await value
        if hasattr(value, "__aiter__"):
            return [item async for item in value]
        return list(value) if inspect.isgenerator(value) else value


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    stamina.set_testing(True, attempts=3)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.set_testing(False)
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture(params=["sync", "async"])
async def call(request: pytest.FixtureRequest, script: Script) -> AsyncIterator[Caller]:
    transport = httpx.MockTransport(script)
    if request.param == "sync":
        with Client("http://welip.test", "secret", transport=transport) as client:
            yield Caller(client)
    else:
        async with AsyncClient("http://welip.test", "secret", transport=transport) as client:
            yield Caller(client)


def ok(body: Any, status: int = 200, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, json=body, headers=headers)


def problem(status: int, code: str, **more: Any) -> Callable[[httpx.Request], httpx.Response]:
    body = {"title": code, "status": status, "code": code, "detail": f"{code} it is", **more}
    return lambda _: httpx.Response(status, json=body, headers={"content-type": "application/problem+json"})


def sse(id: int, type: str, **data: Any) -> bytes:
    body = {"id": id, "job": ID, "type": type, "at": "2026-11-20T00:00:00Z", "data": data}
    return f"id: {id}\nevent: {type}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def stream(*pieces: bytes | Exception) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, stream=Chunks(*pieces), headers={"content-type": "text/event-stream"})
