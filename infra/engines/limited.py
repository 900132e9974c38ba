"""A language model within the limits of its row in the models file, and within what its server takes."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Protocol

from infra.engines.admission import Admission, Request
from schemas.models import Limits
from schemas.text import Completion, Likelihood, Message, TextDelta, TextOptions


class ChatEngine(Protocol):
    """What every adapter of a language model offers: the port `TextModel`, as infra may know it."""

    @property
    def name(self) -> str:
        """What results call it."""

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        """The whole text at once."""

    def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        """The text while it is written."""

    async def likelihoods(self, context: str, continuations: Sequence[str], options: TextOptions) -> list[Likelihood]:
        """How likely each of the continuations is after the context."""

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
        self.admission = Admission(model.name, limits, adapts=adapts)

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
                return _taken(request, await self.model.complete(messages, options))

    async def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        """The text while it is written. It counts as under way until the generator ends or is closed."""
        options = self._cut(options)
        request = self._request(messages, options)
        while True:
            async with request, contextlib.aclosing(self.model.stream(messages, options)) as pieces:
                async for piece in pieces:
                    request.begun = True
                    yield _taken(request, piece) if isinstance(piece, Completion) else piece
                return

    async def likelihoods(self, context: str, continuations: Sequence[str], options: TextOptions) -> list[Likelihood]:
        """How likely each continuation is, when it is this request's turn."""
        size = sum(len(context.encode()) + len(one.encode()) for one in continuations)
        request = self.admission.request(options.lane, size)
        while True:
            async with request:
                found = await self.model.likelihoods(context, continuations, options)
                request.taken(0)
                return found

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

    def _request(self, messages: Sequence[Message], options: TextOptions) -> Request:
        return self.admission.request(options.lane, sum(len(one.content.encode()) for one in messages))


def _taken(request: Request, completion: Completion) -> Completion:
    request.taken(completion.usage.prompt_tokens + completion.usage.completion_tokens, completion.text)
    return completion
