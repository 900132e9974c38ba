"""What travels between stages and language models: messages, options, and the text that comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.retrieval import FinishReason, Usage
from schemas.topics import Lane

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that a model asks its caller to call. `arguments`: JSON, as the model wrote it; it may be broken."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `tool_calls`: what an assistant's turn asked for; a turn of the role `tool` answers the call of `tool_call_id`.
    """

    role: Role
    content: str
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How to write: at most `max_tokens`, thoughts included; the engine decides what is None.

    `temperature` is in 0..2, `top_p` in 0..1. `schema` is a JSON schema that the text must follow; `json_object` asks
    for any JSON object. `tools` are functions that the model may call, as OpenAI's chat completions write them, and so
    is `tool_choice`.

    `lane`: an engine in this process serves interactive requests first. `adapter`: a LoRA adapter; for an engine in
    this process the folder of one version (`infra/engines/adapters.py` says which are served), for a server its name
    there. `raw`: there is one message, and the model continues its text as it is, without a chat template.
    """

    max_tokens: int = 256
    temperature: float | None = 0.2
    top_p: float | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    json_object: bool = False
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    lane: Lane = Lane.INTERACTIVE
    adapter: str | None = None
    raw: bool = False


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
    tool_calls: Sequence[ToolCall] = ()


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a model finds a text after another one.

    `logprob`: the sum of its tokens' log probabilities, to the base e. `greedy`: whether each of its tokens was the
    most likely one. `tokens`: how many there are. `cut`: the text before it was longer than the model's context, so
    that only its end was read.
    """

    logprob: float
    greedy: bool
    tokens: int
    cut: bool = False
