"""Real HTTP servers on loopback that receive webhooks, and behave or misbehave as a test says."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook


@dataclass(frozen=True)
class Request:
    """A request as it came in. Header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """The body, if a library that we did not write accepts the signature."""
        return Webhook(secret).verify(self.body, dict(self.headers))


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def status(code: int, *headers: str, body: bytes = b"") -> Answer:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)

    return answer


ok = status(200, body=b"thanks")


async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def reset(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def drip(request: Request, writer: asyncio.StreamWriter) -> None:
    """A status at once, then a byte now and then, forever."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drip_head(request: Request, writer: asyncio.StreamWriter) -> None:
    """Header lines forever, so that the status line never counts as complete."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def huge(request: Request, writer: asyncio.StreamWriter) -> None:
    """A body that never ends, as fast as it is read."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


class Receiver:
    """Listens on a free loopback port: `async with Receiver(ok) as receiver`."""

    def __init__(self, answer: Answer, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None):
        self.answer = answer
        self.requests: list[Request] = []
        self.connections = 0
        self.under_way = 0
        self.most_under_way = 0
        self._host = host
        self._tls = tls
        self._changed = asyncio.Event()
        self._handlers: set[asyncio.Task[None]] = set()
        self.port = port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}/in?token=of-the-receiver"

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.requests]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: asyncio.StreamReaderProtocol(_Reader(), self._accept),
            self._host,
            self.port,
            ssl=self._tls,
            backlog=1000,  # everything that two deliverers open at once while this loop is busy with their side
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def until(self, count: int, *, within_s: float = 60) -> list[Request]:
        """The requests, as soon as `count` of them have come."""
        try:
            async with asyncio.timeout(within_s):
                while len(self.requests) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{len(self.requests)} of {count} requests after {within_s:g} s") from None
        return self.requests

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, _Reader)
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        try:
            # Otherwise asyncio would log an error for a cancelled handler.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while not writer.is_closing():
                    request = await _read(reader)
                    self.requests.append(request)
                    self._changed.set()
                    self.under_way += 1
                    self.most_under_way = max(self.most_under_way, self.under_way)
                    try:
                        await self._until_closed(reader, self.answer(request, writer))
                    finally:
                        self.under_way -= 1
        finally:
            self._handlers.discard(task)
            writer.close()

    async def _until_closed(self, reader: "_Reader", answering: Awaitable[None]) -> None:
        """Answer, but stop when the sender is gone."""
        answered = asyncio.ensure_future(answering)
        gone = asyncio.ensure_future(reader.ended.wait())
        try:
            await asyncio.wait({answered, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answered.done():
                answered.result()
        finally:
            for task in (answered, gone):
                task.cancel()
            await asyncio.gather(answered, gone, return_exceptions=True)


class _Reader(asyncio.StreamReader):
    """Notices without reading when the other side is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.ended.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.ended.set()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert first.startswith("POST ")
    body = await reader.readexactly(int(headers["content-length"]))
    return Request(first.split(" ")[1], headers, body)
