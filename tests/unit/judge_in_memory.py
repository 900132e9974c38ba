"""A judge that answers by a function, and the replies that are kept of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from schemas.errors import JobError
from schemas.retrieval import Usage
from schemas.text import Completion, Message, TextOptions

Reply = str | Completion | JobError


@dataclass
class JudgeModel:
    """Replies what `says` makes of the last message; an error is raised. `asked`: every call's messages."""

    says: Callable[[str], Reply]
    asked: list[Sequence[Message]] = field(default_factory=list)
    options: list[TextOptions] = field(default_factory=list)
    name = "judge"
    context_length: int | None = None

    async def lengths(self, texts: Sequence[str]) -> None:
        return None

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        self.asked.append(messages)
        self.options.append(options)
        reply = self.says(messages[-1].content)
        if isinstance(reply, JobError):
            raise reply
        return reply if isinstance(reply, Completion) else Completion(reply, "stop", self.name, Usage(10, 5))

    async def stream(self, messages: Sequence[Message], options: TextOptions):  # type: ignore[no-untyped-def]
        yield await self.complete(messages, options)

    async def close(self) -> None:
        return None


@dataclass
class MemoryJudgements:
    """Implements the port `Judgements`."""

    replies: dict[bytes, str] = field(default_factory=dict)
    costs: dict[UUID, tuple[int, float]] = field(default_factory=dict)

    async def find(self, key: bytes) -> str | None:
        return self.replies.get(key)

    async def keep(self, run: UUID, key: bytes, reply: str | None, tokens: int, cost: float) -> tuple[int, float]:
        if reply is not None:
            self.replies.setdefault(key, reply)
        before = self.costs.get(run, (0, 0.0))
        self.costs[run] = (before[0] + tokens, before[1] + cost)
        return self.costs[run]

    async def cost(self, run: UUID) -> tuple[int, float]:
        return self.costs.get(run, (0, 0.0))
