"""Chat completions as engines write them: whole, in pieces, or in the forms of other years."""

from collections.abc import Mapping
from typing import Any, Final

from infra.engines.endpoint import unreadable
from infra.engines.thoughts import Spoken
from schemas.retrieval import FinishReason, Usage

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
    """Collects a reply, whole or piece by piece. `text` holds no thoughts."""

    def __init__(self) -> None:
        self.finish_reason: FinishReason | None = None
        self.usage = Usage()
        self._refusal: list[str] = []
        self._spoken = Spoken()

    @property
    def text(self) -> str:
        """The text so far."""
        return self._spoken.text

    @property
    def refusal(self) -> str | None:
        """The model's own sentence, where it refuses."""
        return "".join(self._refusal) or None

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
        if message.get("tool_calls") and self.finish_reason is None:
            self.finish_reason = "tool_calls"
        if isinstance(refusal := message.get("refusal"), str):
            self._refusal.append(refusal)
        return self._spoken.feed(self._content(message.get("content")))

    def end(self) -> str:
        """The rest that may be shown, once nothing more comes."""
        return self._spoken.end()

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


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
