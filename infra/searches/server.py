"""A worker's end: listens for gateways, and answers the searches of each side by side."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from infra.isolation.frames import pack
from infra.searches.wire import GREETING_BYTES, proof, proves, received
from schemas.errors import DependencyUnavailable, InternalError, JobError

log = structlog.get_logger(__name__)

LARGEST_QUESTION: Final = 4 * 1024**2
"""Bytes of a request; the gateway reads bodies of 1 MiB, of which JSON may make more."""


GREET_WITHIN_S: Final = 5.0
CLOSE_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Question:
    """A search as a gateway sends it. `content` is an `InferenceInput` as JSON."""

    tenant: str
    content: bytes
    traceparent: str | None


Answer = Callable[[Question], Awaitable[bytes | None]]
"""The body of the HTTP answer; None when a job has to do it. Raises a `JobError`; it is cancelled when nobody waits."""


class SearchServer:
    """Listens from `start` to `drain`. Who knows `token` may ask."""

    def __init__(self, answer: Answer) -> None:
        self.token = secrets.token_urlsafe(32)
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._leaving = False

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which the system chooses for 0. Raises `DependencyUnavailable`."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port)
        except OSError as error:
            raise DependencyUnavailable(f"searches: cannot listen on {host}, port {port}: {error}") from error
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def drain(self, limit_s: float) -> None:
        """Let gateways have the answers of what was begun, for `limit_s` seconds; then give the rest up."""
        self._leaving = True
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.send({"leaving": True})
        running = [task for connection in self._connections for task in connection.running.values()]
        if running:
            await asyncio.wait(running, timeout=limit_s)
        if all(task.done() for task in running):
            await self._until_ended(CLOSE_WITHIN_S)  # the gateways close, with their answers
        for connection in self._connections:
            connection.writer.close()
        await self._until_ended(CLOSE_WITHIN_S)

    async def _until_ended(self, limit_s: float) -> None:
        if self._connections:
            await asyncio.wait([connection.ended for connection in self._connections], timeout=limit_s)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(GREET_WITHIN_S):
                await self._greet(reader, writer)
        except (OSError, TimeoutError) as error:
            log.warning("search.gateway_refused", error=repr(error))
            writer.close()
            return
        connection = _Connection(writer)
        self._connections.add(connection)
        if self._leaving:
            connection.send({"leaving": True})
        try:
            while True:
                self._begin(connection, *await received(reader, LARGEST_QUESTION))
        except OSError:
            pass  # the gateway left, and nobody waits any more
        finally:
            await connection.give_up()
            self._connections.discard(connection)
            connection.ended.set_result(None)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce = secrets.token_hex(16)
        writer.write(pack({"nonce": nonce}))
        message, _ = await received(reader, GREETING_BYTES)
        if not proves(message, self.token, "gateway", nonce):
            raise ConnectionRefusedError("it does not know the token")
        writer.write(pack({"proof": proof(self.token, "worker", str(message.get("nonce")))}))

    def _begin(self, connection: "_Connection", message: dict[str, Any], content: bytes) -> None:
        if (cancelled := message.get("cancel")) is not None:
            if (task := connection.running.get(cancelled)) is not None:
                task.cancel()
            return
        number = message["search"]
        if self._leaving:
            connection.send({"answer": number, "leaving": True})
            return
        question = Question(message["tenant"], content, message.get("traceparent"))
        task = asyncio.create_task(self._reply(connection, number, question))
        connection.running[number] = task
        task.add_done_callback(lambda _: connection.running.pop(number, None))

    async def _reply(self, connection: "_Connection", number: int, question: Question) -> None:
        try:
            body = await self._answer(question)
        except JobError as error:
            connection.send({"answer": number, "error": _told(error)})
        except Exception as error:  # a defect must end its own search, not the connection of others
            log.error("search.defect", exc_info=error)
            defect = InternalError(f"{type(error).__name__} in a search; see the worker's log")
            connection.send({"answer": number, "error": _told(defect)})
        else:
            if body is None:
                connection.send({"answer": number, "elsewhere": True})
            else:
                connection.send({"answer": number}, body)
                with suppress(OSError):
                    await connection.writer.drain()


@dataclass(eq=False, slots=True)
class _Connection:
    """A gateway that has proved itself, and the searches that run for it, by its numbers."""

    writer: asyncio.StreamWriter
    running: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def send(self, message: dict[str, Any], payload: bytes = b"") -> None:
        """Send a frame, unless the gateway has left."""
        if not self.writer.is_closing():
            self.writer.write(pack(message, payload))

    async def give_up(self) -> None:
        """Cancel what runs, and close."""
        running = list(self.running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self.writer.close()


def _told(error: JobError) -> dict[str, Any]:
    return {"code": error.reason, "message": error.message, "field": error.field, "retryable": error.retryable}
