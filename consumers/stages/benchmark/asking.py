"""Asks a model how likely texts are, unless it said so before: what is kept outlives the worker and the job."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson

from consumers.stages.ports import Judgements, TextModel
from schemas.text import Likelihood, Message, TextOptions

T = TypeVar("T")

AT_ONCE: Final = 32
"""Items that are under way; how many of them the model works on is up to its own gate."""


@dataclass
class Asker:
    """One model. `identity`: tenant, model and version, a part of every key. `asked`, `reused`: requests so far.

    `tokens`: those that were scored, read and written, also the reused ones.
    """

    model: TextModel
    kept: Judgements
    run: UUID
    identity: Sequence[str]
    options: TextOptions
    reuse: bool
    asked: int = 0
    reused: int = 0
    tokens: int = 0

    async def likelihoods(self, context: str, continuations: Sequence[str]) -> list[Likelihood]:
        """How likely each continuation is. Raises what `TextModel.likelihoods` raises."""
        key = self._key("likelihoods", [context, *continuations])
        if (kept := await self._find(key)) is not None:
            found = [Likelihood(**one) for one in kept]
        else:
            found = await self.model.likelihoods(context, continuations, self.options)
            await self._keep(key, found, sum(one.tokens for one in found))
        self.tokens += sum(one.tokens for one in found)
        return found

    async def written(
        self,
        messages: Sequence[Message],
        *,
        raw: bool,
        max_tokens: int,
        temperature: float,
        stop: Sequence[str],
        nth: int,
    ) -> str:
        """What the model writes; `nth`: which of several texts. Raises what `TextModel.complete` raises."""
        options = replace(self.options, raw=raw, max_tokens=max_tokens, temperature=temperature, stop=stop)
        how = f"{raw}/{max_tokens}/{temperature:g}/{nth}"
        turns = [text for one in messages for text in (one.role, one.content)]
        key = self._key("written", [how, str(len(turns)), *turns, *stop])
        if (kept := await self._find(key)) is not None:
            text, tokens = kept
        else:
            completion = await self.model.complete(messages, options)
            tokens = completion.usage.prompt_tokens + completion.usage.completion_tokens
            text = completion.text.encode(errors="replace").decode()
            await self._keep(key, [text, tokens], tokens)
        self.tokens += tokens
        return str(text)

    async def _find(self, key: bytes) -> Any:
        reply = await self.kept.find(key)
        if reply is None:
            return None
        self.reused += 1
        return orjson.loads(reply)

    async def _keep(self, key: bytes, reply: object, tokens: int) -> None:
        self.asked += 1
        await self.kept.keep(self.run, key, orjson.dumps(reply).decode(), tokens, 0.0)

    def _key(self, call: str, texts: Sequence[str]) -> bytes:
        # A run that is to reuse nothing still goes on from what it was told itself.
        whose = "" if self.reuse else self.run.hex
        return hashlib.sha256(orjson.dumps(["benchmark", *self.identity, whose, call, *texts])).digest()


async def in_order(works: AsyncIterator[Coroutine[Any, Any, T]]) -> AsyncGenerator[T]:
    """What each of the works gives, in their order, `AT_ONCE` under way. The first error ends them all."""
    waiting: deque[asyncio.Task[T]] = deque()
    try:
        async for work in works:
            waiting.append(asyncio.create_task(work))
            if len(waiting) >= AT_ONCE:
                yield await waiting[0]
                waiting.popleft()
        while waiting:
            yield await waiting[0]
            waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
