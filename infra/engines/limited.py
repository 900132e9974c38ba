"""A language model within the limits that its row in the models file sets for each worker."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from typing import Protocol

from aiolimiter import AsyncLimiter

from schemas.models import Limits
from schemas.text import Completion, Message, TextDelta, TextOptions


class ChatEngine(Protocol):
    """What every adapter of a language model offers: the port `TextModel`, as infra may know it."""

    @property
    def name(self) -> str:
        """What results call it."""

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        """The whole text at once."""

    def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        """The text while it is written."""

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and reply together; None where nobody said."""

    async def lengths(self, texts: Sequence[str]) -> list[int] | None:
        """The tokens of each text by the model's own tokenizer; None where this process has none."""

    async def warm(self) -> None:
        """Until it can write; weights in this process are loaded, and a first token is written.

        Raises `DependencyMissing`, and `DependencyUnavailable` when they cannot be loaded.
        """

    async def watch(self) -> None:
        """Until an engine in this process dies. Raises `EngineDied`. A server elsewhere is not watched."""

    async def close(self) -> None:
        """Release connections and weights."""


class LimitedTextModel:
    """Requests wait here until the limits let them through, in the order in which they came.

    The gateway refuses requests for longer replies than the limit; a request that does not say is cut to it here.
    """

    def __init__(self, model: ChatEngine, limits: Limits) -> None:
        self.model = model
        self._longest = limits.max_tokens
        self._room = None if limits.at_once is None else asyncio.Semaphore(limits.at_once)
        # The limiter lets `max_rate` through at once and refills evenly. One a minute at least, with a longer period:
        # a rate below 1 would never let anything through.
        rate = limits.requests_per_minute
        self._pace = None if rate is None else AsyncLimiter(max(rate, 1), 60 if rate >= 1 else 60 / rate)

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        """The whole text at once, when it is this request's turn."""
        async with self._turn():
            return await self.model.complete(messages, self._cut(options))

    async def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        """The text while it is written. It counts as under way until the generator ends or is closed."""
        async with self._turn(), contextlib.aclosing(self.model.stream(messages, self._cut(options))) as pieces:
            async for piece in pieces:
                yield piece

    @property
    def context_length(self) -> int | None:
        """The model's."""
        return self.model.context_length

    async def lengths(self, texts: Sequence[str]) -> list[int] | None:
        """By the model's tokenizer, whatever the limits."""
        return await self.model.lengths(texts)

    async def warm(self) -> None:
        """Warm the model, whatever the limits."""
        await self.model.warm()

    async def watch(self) -> None:
        """Watch the model."""
        await self.model.watch()

    async def close(self) -> None:
        """Close the model."""
        await self.model.close()

    def _cut(self, options: TextOptions) -> TextOptions:
        longest = self._longest
        return options if longest is None or options.max_tokens <= longest else replace(options, max_tokens=longest)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._room or contextlib.nullcontext():
            if self._pace is not None:
                await self._pace.acquire()
            yield
