"""A language model within the limits of its row in the models file, and within what its server takes."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from aiolimiter import AsyncLimiter

from infra.engines.gate import Gate
from infra.engines.pace import TokenPace
from schemas.errors import EngineOverloaded
from schemas.models import Limits
from schemas.text import Completion, Message, TextDelta, TextOptions
from schemas.topics import Lane

PATIENCE_S: Final = 8.0
"""How long a request waits here, in all, for a server without capacity."""
FIRST_WAIT_S: Final = 0.5
"""Where the server does not say; doubled each time, of which a random part is waited."""
BYTES_A_TOKEN: Final = 3
"""Where the server does not count: a syllable of Hangul, three letters of English."""


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
    """Requests wait here until the limits let them through, interactive ones first.

    `adapts`: for a server elsewhere. What it refuses for lack of capacity is repeated here for a few seconds, by fewer
    requests at a time; then it is the job's turn to wait. The gateway refuses requests for longer replies than the
    limit; a request that does not say is cut to it here.
    """

    def __init__(self, model: ChatEngine, limits: Limits, *, adapts: bool = False) -> None:
        self.model = model
        self._longest = limits.max_tokens
        self._adapts = adapts
        self._gate = Gate(model.name, limits.at_once, adapts=adapts)
        # The limiter lets `max_rate` through at once and refills evenly. One a minute at least, with a longer period:
        # a rate below 1 would never let anything through.
        rate = limits.requests_per_minute
        self._pace = None if rate is None else AsyncLimiter(max(rate, 1), 60 if rate >= 1 else 60 / rate)
        self._tokens = None if limits.tokens_per_minute is None else TokenPace(limits.tokens_per_minute)

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        """The whole text at once, when it is this request's turn."""
        options = self._cut(options)
        request = self._request(messages, options)
        while True:
            async with request:
                return request.done(await self.model.complete(messages, options))

    async def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        """The text while it is written. It counts as under way until the generator ends or is closed."""
        options = self._cut(options)
        request = self._request(messages, options)
        while True:
            async with request, contextlib.aclosing(self.model.stream(messages, options)) as pieces:
                async for piece in pieces:
                    request.begun = True
                    yield request.done(piece) if isinstance(piece, Completion) else piece
                return

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

    def _request(self, messages: Sequence[Message], options: TextOptions) -> "_Request":
        prompt = sum(len(one.content.encode()) for one in messages) // BYTES_A_TOKEN
        patience = PATIENCE_S if self._adapts else 0.0
        return _Request(self._gate, self._pace, self._tokens, options.lane, prompt, patience)


class _Request:
    """One request: each `async with` is a try, which has a place and keeps the pace.

    A refusal for lack of capacity ends in silence as long as there is patience left, in seconds; the next try waits
    first. `prompt`: tokens, estimated.
    """

    def __init__(
        self,
        gate: Gate,
        pace: AsyncLimiter | None,
        tokens: TokenPace | None,
        lane: Lane,
        prompt: int,
        patience: float,
    ) -> None:
        self._gate = gate
        self._pace = pace
        self._tokens = tokens
        self._lane = lane
        self._prompt = prompt
        self._patience = patience
        self._refusals = 0
        self._pause = 0.0
        self._place = contextlib.AsyncExitStack()
        self.begun = False
        """Whether something of the reply was shown: then it cannot be repeated."""

    async def __aenter__(self) -> None:
        if self._pause:
            await asyncio.sleep(self._pause)
        try:
            self._turn = await self._place.enter_async_context(self._gate.turn(self._lane))
            if self._pace is not None:
                await self._pace.acquire()
            if self._tokens is not None:
                await self._tokens.take(self._prompt)
        except BaseException:
            await self._place.aclose()
            raise

    def done(self, completion: Completion) -> Completion:
        """The server took it, and wrote this."""
        self._turn.taken()
        if self._tokens is not None:
            counted = completion.usage.prompt_tokens + completion.usage.completion_tokens
            written = len(completion.text.encode()) // BYTES_A_TOKEN
            self._tokens.settle(counted - self._prompt if counted else written)
        return completion

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        try:
            if not isinstance(error, EngineOverloaded):
                return False
            self._turn.refused(error.retry_after)
            if self._tokens is not None:
                self._tokens.settle(-self._prompt)
            told = error.retry_after.total_seconds() if error.retry_after else 0.0
            self._pause = max(told, FIRST_WAIT_S * 2**self._refusals * random.uniform(0.5, 1))
            self._refusals += 1
            self._patience -= self._pause
            return self._patience >= 0 and not self.begun
        finally:
            await self._place.aclose()
