"""Chat completions as engines write them: whole, in pieces, or in the forms of other years."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.engines.endpoint import unreadable
from infra.engines.thoughts import Spoken
from schemas.retrieval import FinishReason, Usage
from schemas.text import ToolCall

_FINISH: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
}
_TEXT: Final = ("text", "output_text")


class Reply:
    """Collects a reply, whole or piece by piece. `text` holds no thoughts.

    `thinks_first`: it may begin with thoughts that nothing announces, so nothing is shown before these have ended, or
    the reply has.
    """

    def __init__(self, *, thinks_first: bool = False) -> None:
        self._holds_back = thinks_first
        self.finish_reason: FinishReason | None = None
        self.usage = Usage()
        self._refusal: list[str] = []
        self._spoken = Spoken()
        self._calls: dict[int, _Call] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        return self._spoken.text

    @property
    def thought_first(self) -> bool:
        """Whether it began with thoughts that nothing announced."""
        return self._spoken.unannounced

    @property
    def refusal(self) -> str | None:
        """The model's own sentence, where it refuses."""
        return "".join(self._refusal) or None

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The functions that the model asks for so far, in its order."""
        return tuple(
            ToolCall(call.id or f"call_{at}", call.name, "".join(call.arguments))
            for at, call in sorted(self._calls.items())
        )

    def add(self, body: Any) -> str:
        """Take a completion, or a piece of one; what may be shown of it. Raises `EngineReplyBroken`."""
        match body:
            case {"choices": [dict() as choice, *_]}:
                pass
            case {"choices": [] | None}:  # nothing was said, or it is the usage at the end of a stream
                choice = {}
            case _:
                raise unreadable("chat completions")
        if isinstance(usage := body.get("usage"), dict):
            self.usage = Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
        if isinstance(finish := choice.get("finish_reason"), str):
            self.finish_reason = _FINISH.get(finish.lower())
        message = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
        if not isinstance(message, dict):
            raise unreadable("chat completions")
        if isinstance(called := message.get("tool_calls"), list) and called:
            self.finish_reason = self.finish_reason or "tool_calls"
            self._called(called)
        if isinstance(refusal := message.get("refusal"), str):
            self._refusal.append(refusal)
        shown = self._spoken.feed(self._content(message.get("content")))
        self._holds_back = self._holds_back and not self._spoken.unannounced
        return "" if self._holds_back else shown

    def end(self) -> str:
        """The rest that may be shown, once nothing more comes."""
        shown = self._spoken.end()
        return self._spoken.text if self._holds_back else shown

    def _called(self, pieces: list[Any]) -> None:
        """Calls, or pieces of them: a piece names its call by `index`; whole ones stand in order."""
        for at, piece in enumerate(pieces):
            match piece:
                case {"function": dict() as function}:
                    index = piece.get("index")
                    call = self._calls.setdefault(index if isinstance(index, int) else at, _Call())
                    call.id = call.id or _word(piece.get("id"))
                    call.name = call.name or _word(function.get("name"))
                    arguments = function.get("arguments")
                    # Some engines give the object itself instead of its JSON.
                    call.arguments.append(
                        json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else _word(arguments)
                    )
                case _:
                    raise unreadable("chat completions")

    def _content(self, content: Any) -> str:
        """Text, or the text of a list of parts: thoughts, which some engines send as parts, are none of it."""
        if content is None or isinstance(content, str):
            return content or ""
        if not isinstance(content, list):
            raise unreadable("chat completions")
        texts: list[str] = []
        for part in content:
            match part:
                case str():
                    texts.append(part)
                case {"type": "refusal", "refusal": str() as refusal}:
                    self._refusal.append(refusal)
                case {"type": kind, "text": str() as text} if kind in _TEXT:
                    texts.append(text)
        return "".join(texts)


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
