"""The text of a job while it is written: put together from the job's events, and handed out piece by piece."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from types import TracebackType
from typing import Self

from producers.client.errors import StreamRestarted
from producers.client.events import Event, StateEvent, StreamEvent, TokenEvent
from producers.client.models import Job
from schemas.lifecycle import JobState


class StreamedText:
    """What a reader has been given, and what holds; does no I/O.

    A text that begins again, after a worker died, is given from where it differs from what was given before. When it
    differs there already, `on_restart` is called and it is given from its beginning; without `on_restart`
    `StreamRestarted` is raised, because what was given cannot be taken back.
    """

    def __init__(self, job: str, on_restart: Callable[[], None] | None) -> None:
        self._job = job
        self._on_restart = on_restart
        self._holds: list[str] = []
        self._given: str | None = None
        """What was given of a text that no longer holds, while the new one has not caught up with it."""

    @property
    def text(self) -> str:
        """The text as it holds now."""
        return "".join(self._holds)

    def read(self, event: Event) -> str:
        """What the reader may be given after this event; often nothing."""
        match event:
            case StreamEvent():
                if self._given is None:
                    self._given = self.text
                self._holds.clear()
            case TokenEvent():
                self._holds.append(event.text)
                return event.text if self._given is None else self._catch_up(self._given)
            case StateEvent(state=JobState.SUCCEEDED) if self._given:
                return self._restart()  # the new text is over, and only a part of what was given
        return ""

    def _catch_up(self, given: str) -> str:
        text = self.text
        if text.startswith(given):
            self._given = None
            return text[len(given) :]
        return "" if given.startswith(text) else self._restart()

    def _restart(self) -> str:
        self._given = None
        if self._on_restart is None:
            raise StreamRestarted(self._job)
        self._on_restart()
        return self.text


class TextStream(Iterator[str]):
    """The pieces of a job's text as they are written, to the end of the job, however it ends."""

    def __init__(self, events: Generator[Event, None, None], job: Callable[[], Job], text: StreamedText) -> None:
        self.job: Job | None = None
        """The job after its end; None until then."""
        self._events = events
        self._job = job
        self._text = text
        self._pieces = self._read()

    @property
    def text(self) -> str:
        """The text so far, as it holds now."""
        return self._text.text

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading. The job goes on, unless `on_disconnect` says otherwise."""
        self._pieces.close()
        self._events.close()

    def _read(self) -> Generator[str, None, None]:
        with contextlib.closing(self._events):
            for event in self._events:
                if piece := self._text.read(event):
                    yield piece
        self.job = self._job()


class AsyncTextStream(AsyncIterator[str]):
    """Like `TextStream`; close it with `aclose()` or as an async context manager."""

    def __init__(self, events: AsyncGenerator[Event], job: Callable[[], Awaitable[Job]], text: StreamedText) -> None:
        self.job: Job | None = None
        """The job after its end; None until then."""
        self._events = events
        self._job = job
        self._text = text
        self._pieces = self._read()

    @property
    def text(self) -> str:
        """The text so far, as it holds now."""
        return self._text.text

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Like `TextStream.close`."""
        await self._pieces.aclose()
        await self._events.aclose()

    async def _read(self) -> AsyncGenerator[str]:
        async with contextlib.aclosing(self._events):
            async for event in self._events:
                if piece := self._text.read(event):
                    yield piece
        self.job = await self._job()
