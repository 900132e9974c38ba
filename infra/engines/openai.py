"""A `TextModel` behind any server that speaks OpenAI's chat completions: vLLM, llama.cpp, Ollama, or a hosted model."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Final

import httpx

from infra.engines.dialect import Dialect
from infra.engines.endpoint import EVENTS, Endpoint, RefusedBodyError, address, events, whole
from infra.engines.openai_completions import OpenAICompletions
from infra.engines.replies import Reply
from schemas.errors import DependencyUnavailable
from schemas.text import Completion, Likelihood, Message, TextDelta, TextOptions

_LESSONS: Final = 5
"""How many parameters an engine may refuse one after the other before its refusal is final."""


class OpenAITextModel:
    """Chat completions over HTTP. `base_url`: see `address`; `timeout`: seconds for each silence of the engine;
    `served_as`: the server's name for the model, if it is not `model`.

    What the engine says it does not take is left out from then on, as `dialect` learns it. When the last reply began
    with thoughts that nothing announced, the next stream shows nothing before such thoughts end.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        timeout: float = 120.0,
        *,
        headers: Mapping[str, str] | None = None,
        dialect: Dialect | None = None,
        context_length: int | None = None,
        served_as: str | None = None,
    ) -> None:
        self._model = model
        self._context_length = context_length
        self._dialect = dialect or Dialect(model)
        self._thinks_first = False
        self._endpoint = Endpoint(address(base_url, "chat/completions"), api_key, timeout, headers=headers)
        self._completions = OpenAICompletions(base_url, served_as or model, api_key, timeout, headers=headers)

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self._model

    @property
    def context_length(self) -> int | None:
        """As the models file says."""
        return self._context_length

    async def lengths(self, texts: Sequence[str]) -> None:
        """None: servers count tokens by calls of their own, or not at all."""

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        """The whole text at once. Raises what `Endpoint.post` raises."""
        if options.raw:
            (text,) = (message.content for message in messages)
            return await self._completions.complete(text, options, name=self._model)
        async with self._asked(messages, options, stream=False) as response:
            reply = Reply()
            async with contextlib.aclosing(_pieces(response)) as pieces:
                async for piece in pieces:
                    reply.add(piece)
            reply.end()
            return self._completion(reply)

    async def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        """The text while it is written, then the completion. Closing it closes the connection: the engine stops."""
        async with self._asked(messages, options, stream=True) as response:
            reply = Reply(thinks_first=self._thinks_first)
            async with contextlib.aclosing(_pieces(response)) as pieces:
                async for piece in pieces:
                    if text := reply.add(piece):
                        yield TextDelta(text)
            if text := reply.end():
                yield TextDelta(text)
            yield self._completion(reply)

    async def likelihoods(self, context: str, continuations: Sequence[str], options: TextOptions) -> list[Likelihood]:
        """How likely each continuation is, if the server tells."""
        return await self._completions.likelihoods(context, continuations, options)

    async def warm(self) -> None:
        """Nothing: the server loads its weights itself, and jobs wait where it does not answer."""

    async def watch(self) -> None:
        """For ever: a server that does not answer is an outage, and it is the requests that notice."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()
        await self._completions.close()

    @contextlib.asynccontextmanager
    async def _asked(
        self, messages: Sequence[Message], options: TextOptions, *, stream: bool
    ) -> AsyncIterator[httpx.Response]:
        for lesson in range(_LESSONS + 1):
            body = self._dialect.body(messages, options, stream=stream)
            async with contextlib.AsyncExitStack() as opened:
                try:
                    response = await opened.enter_async_context(self._endpoint.open(body))
                except RefusedBodyError as refused:
                    if lesson < _LESSONS and self._dialect.learns(refused.why, body):
                        continue
                    raise refused.error from refused
                yield response
                return

    def _completion(self, reply: Reply) -> Completion:
        self._thinks_first = reply.thought_first
        return Completion(reply.text, reply.finish_reason, self._model, reply.usage, reply.refusal, reply.tool_calls)


async def _pieces(response: httpx.Response) -> AsyncGenerator[Any]:
    """The parts of a reply, whichever form the engine chose: one whole completion, or events."""
    if not response.headers.get("content-type", "").startswith(EVENTS):
        yield await whole(response)
        return
    ended = False
    async with contextlib.aclosing(events(response)) as found:
        async for event in found:
            if event is None:
                return
            ended = ended or _finished(event)
            yield event
    if not ended:
        raise DependencyUnavailable("the engine broke off in the middle of its reply")


def _finished(event: Any) -> bool:
    match event:
        case {"choices": [{"finish_reason": str()}, *_]}:
            return True
    return False
