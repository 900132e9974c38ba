"""What travels between stages and language models: messages, options, and the text that comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.retrieval import FinishReason, Usage

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How to write: at most `max_tokens`, thoughts included; the engine decides what is None.

    `temperature` is in 0..2, `top_p` in 0..1. `schema` is a JSON schema that the text must follow.
    """

    max_tokens: int = 256
    temperature: float | None = 0.2
    top_p: float | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of a text that is being written; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote. `text` holds no thoughts; it is empty where the model refused, called a tool or was cut.

    `finish_reason` is None where the engine does not say. `refusal` is the model's own sentence, if it gave one.
    """

    text: str
    finish_reason: FinishReason | None
    model: str
    usage: Usage = field(default_factory=Usage)
    refusal: str | None = None
