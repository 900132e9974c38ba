"""A gateway's end: one connection to a worker, which carries all of the gateway's searches there."""

import asyncio
import secrets
from itertools import count
from typing import Any, Final, Self

from infra.isolation.frames import Frame, pack
from infra.searches.wire import GREETING_BYTES, proof, proves, received
from schemas.errors import DependencyUnavailable

LARGEST_ANSWER: Final = 256 * 1024**2
"""Bytes: a hundred chunks, each with all metadata that a document may have."""


CONNECT_WITHIN_S: Final = 2.0
"""So long do searches wait at most before a job does them, where a network drops what is sent to a worker."""


class NotBegun(Exception):
    """The worker does not search, and has not begun to: another one may be asked."""


class SearchLost(DependencyUnavailable):
    """The connection to the worker ended before the answer came: the worker died, or is out of reach."""

    code = "search_lost"


class SearchConnection:
    """An open connection; `open` makes one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._leaving = False
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, host: str, port: int, token: str) -> Self:
        """Connect to the worker that wrote this token. Raises `NotBegun`."""
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    await cls._greet(reader, writer, token)
                except BaseException:
                    writer.close()
                    raise
        except (OSError, TimeoutError) as error:
            raise NotBegun(f"{host}:{port}: {error!r}") from error
        return cls(reader, writer)

    @staticmethod
    async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        greeting, _ = await received(reader, GREETING_BYTES)
        nonce = secrets.token_hex(16)
        writer.write(pack({"proof": proof(token, "gateway", str(greeting.get("nonce"))), "nonce": nonce}))
        answer, _ = await received(reader, GREETING_BYTES)
        if not proves(answer, token, "worker", nonce):
            raise ConnectionRefusedError("another process listens there")

    @property
    def usable(self) -> bool:
        """Whether the worker takes searches."""
        return not self._leaving and not self._task.done()

    @property
    def under_way(self) -> int:
        """How many answers are awaited."""
        return len(self._waiting)

    async def ask(self, question: dict[str, Any], content: bytes) -> Frame:
        """The worker's answer to a search. Cancelling the call cancels the search.

        Raises `NotBegun`, and `SearchLost` when the connection ends after the question was sent.
        """
        if not self.usable:
            raise NotBegun("the worker leaves")
        number = next(self._numbers)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(pack({**question, "search": number}, content))
            message, body = await answer
        except asyncio.CancelledError:
            if not self._writer.is_closing():
                self._writer.write(pack({"cancel": number}))
            raise
        finally:
            del self._waiting[number]
            self._close_when_done()
        if message.get("leaving"):
            raise NotBegun("the worker leaves")
        return message, body

    async def close(self) -> None:
        """Close; searches under way raise `SearchLost`."""
        self._writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                message, body = await received(self._reader, LARGEST_ANSWER)
                if "answer" in message:
                    answer = self._waiting.get(message["answer"])  # none for a search that was cancelled
                    if answer is not None and not answer.done():
                        answer.set_result((message, body))
                else:
                    self._leaving = True
                    self._close_when_done()
        except OSError:
            pass
        finally:
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(SearchLost("the worker that searched is gone: ask again"))

    def _close_when_done(self) -> None:
        if self._leaving and not self._waiting:
            self._writer.close()
