"""Asks the judge: from what it said before, else from the model, within the run's allowance.

Only usable replies are kept: a refusal or a reply that cannot be read is asked for again by the next run.
"""

import asyncio
import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel

from consumers.stages.ports import Judgements, TextModel
from consumers.stages.replies import UnreadableReply, read, strict_schema
from schemas.errors import EngineClosed, EngineFailed, EngineRefused, EngineTrouble, JobError
from schemas.kinds.evaluation.judge import CEILING, Allowance
from schemas.models import Price
from schemas.text import Completion, Message, TextOptions

T = TypeVar("T", bound=BaseModel)

READS: Final = 3
"""Replies that are read before a score counts as missing."""

PAUSES_S: Final = (0.5, 2.0)
"""Before an engine that failed on a call is asked again, where it does not say."""

_SCHEMA: Final = re.compile(r"response_format|json_schema|schema|structured|guided|grammar", re.IGNORECASE)


class Unscored(Exception):
    """A score that cannot be had. `code` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Asker:
    """One judge for the answers of one slice. `identity`: tenant, judge and version, a part of every key.

    `calls`, `cached`: of this slice. What they cost is charged to the run. Many may ask at once; how many go out is up
    to the model's gate.
    """

    model: TextModel
    kept: Judgements
    run: UUID
    identity: tuple[str, str, str]
    options: TextOptions
    allowance: Allowance = field(default_factory=Allowance)
    price: Price | None = None
    calls: int = 0
    cached: int = 0
    _spent: tuple[int, float] = (0, 0.0)
    _replied: bool = False
    _takes_schemas: bool = True
    _locks: defaultdict[bytes, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def begin(self) -> None:
        """Learn what other slices of the run have spent."""
        self._spent = await self.kept.cost(self.run)

    async def ask(
        self, messages: Sequence[Message], form: type[T], *, nth: int = 0, options: TextOptions | None = None
    ) -> T:
        """The judge's reply as the form. `nth`: which of several replies to the same messages is wanted, from 0.

        Raises `Unscored` (`ceiling_reached`, `judge_refused`, `judge_reply_cut`, `judge_unreadable`, or the code of
        what the engine says), and what makes the whole slice wait or fail: an outage and `EngineClosed`.
        """
        options = options or self.options
        key = self._key(messages, form, nth, options)
        # Variants that found the same passages ask the same at the same moment.
        async with self._locks[key]:
            return await self._asked(key, messages, form, options)

    async def _asked(self, key: bytes, messages: Sequence[Message], form: type[T], options: TextOptions) -> T:
        if (found := await self.kept.find(key)) is not None:
            self.cached += 1
            return read(form, found)
        turns, wrong = list(messages), ""
        for _ in range(READS):
            completion = await self._completed(turns, form, options)
            text = completion.text.encode(errors="replace").decode()
            try:
                value = read(form, text)
            except UnreadableReply as error:
                wrong = str(error)
            else:
                await self._charge(key, text, completion)
                return value
            await self._charge(key, None, completion)
            if completion.refusal is not None or completion.finish_reason == "content_filter":
                raise Unscored("judge_refused", completion.refusal or "the judge's engine filtered its reply")
            if completion.finish_reason == "length":
                raise Unscored("judge_reply_cut", f"the judge's reply was longer than {options.max_tokens} tokens")
            turns = [
                *messages,
                *([Message("assistant", text)] if text else []),
                Message("user", f"That cannot be used ({wrong}). Reply again, with the JSON object alone."),
            ]
        raise Unscored("judge_unreadable", f"{READS} replies of the judge could not be read: {wrong}")

    async def _completed(self, turns: Sequence[Message], form: type[BaseModel], options: TextOptions) -> Completion:
        for pause in (*PAUSES_S, None):
            if self.allowance.is_spent(*self._spent):
                raise Unscored(CEILING, "the run's ceiling was reached before this score")
            asked = replace(options, schema=strict_schema(form)) if self._takes_schemas else options
            try:
                completion = await self.model.complete(turns, asked)
            except EngineClosed:
                raise
            except EngineRefused as error:
                if asked.schema is None or not _SCHEMA.search(error.message):
                    raise Unscored(error.reason, error.message) from error
                self._takes_schemas = False  # the prompt says the form, too
            except (EngineTrouble, EngineFailed) as error:
                if pause is None:
                    raise self._given_up(error) from error
                told = error.retry_after.total_seconds() if error.retry_after else 0.0
                await asyncio.sleep(max(told, pause * random.uniform(0.5, 1)))
            else:
                self._replied = True
                self.calls += 1
                return completion
        raise Unscored("engine_refused", "the engine refuses every form of the request")

    def _given_up(self, error: JobError) -> Exception:
        # An engine that fails on everything is away, and the slice waits. One that fails on this alone cannot do it.
        return Unscored(error.reason, error.message) if self._replied else error

    async def _charge(self, key: bytes, reply: str | None, completion: Completion) -> None:
        usage, price = completion.usage, self.price
        tokens = usage.prompt_tokens + usage.completion_tokens
        cost = 0.0
        if price is not None:
            cost = (usage.prompt_tokens * price.input + usage.completion_tokens * price.output) / 1e6
        self._spent = max(self._spent, await self.kept.keep(self.run, key, reply, tokens, cost))

    def _key(self, messages: Sequence[Message], form: type[BaseModel], nth: int, options: TextOptions) -> bytes:
        asked = {
            "identity": self.identity,
            "messages": [[one.role, one.content] for one in messages],
            "form": strict_schema(form),
            "options": [options.temperature, options.top_p, options.seed, options.max_tokens],
            "nth": nth,
        }
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
