"""What one chat engine accepts in a request: configured, or learned from its refusals and then remembered."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import structlog

from infra.engines.complaints import Complaint
from schemas.text import Message, TextOptions

log = structlog.get_logger(__name__)

LengthField = Literal["max_tokens", "max_completion_tokens"]
SystemRole = Literal["system", "developer", "none"]

_HARMLESS: Final = ("temperature", "top_p", "seed", "stream_options")
"""What may be left out: the requested form and length of the answer stay."""
_REFUSES: Final = re.compile(
    r"unsupported|not support|unrecognized|unknown|unexpected|not permitted|not allowed|extra|deprecated"
    r"|only the default"
)
_SYSTEM: Final = re.compile(r"(?:system|developer)\W+(?:role|message|prompt)|roles? must alternate|'system'|\"system\"")


class Dialect:
    """Writes OpenAI chat completion requests as one engine accepts them.

    `length`: its name for the token limit. `sampling`: whether it accepts temperature, top_p and seed. `system`: the
    role of rules, `none` if they go before the first question. `extra` is put into every request.
    """

    def __init__(
        self,
        model: str,
        *,
        length: LengthField = "max_tokens",
        sampling: bool = True,
        system: SystemRole = "system",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._model = model
        self._length: LengthField = length
        self._system: SystemRole = system
        self._left_out = set() if sampling else {"temperature", "top_p", "seed"}
        self._extra = dict(extra or {})

    def body(self, messages: Sequence[Message], options: TextOptions, *, stream: bool = False) -> dict[str, Any]:
        """The request's JSON."""
        fields: dict[str, Any] = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": options.seed,
            "stop": list(options.stop) or None,
        }
        if options.schema is not None:
            schema = {"name": "answer", "schema": dict(options.schema), "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif options.json_object:
            fields["response_format"] = {"type": "json_object"}
        if options.tools:
            fields |= {"tools": [dict(tool) for tool in options.tools], "tool_choice": options.tool_choice}
        if stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        taken = {name: value for name, value in fields.items() if value is not None and name not in self._left_out}
        return {
            "model": options.adapter or self._model,
            "messages": self._messages(messages),
            self._length: options.max_tokens,
            **taken,
            **self._extra,
        }

    def learns(self, why: Complaint, sent: Mapping[str, Any]) -> bool:
        """Whether another request may succeed, after the engine's answer to the one that was `sent`."""
        sentence = f"{why.message} {why.param}".lower()
        # Concurrent requests may learn the same: the second one repeats with what the first has learned.
        if "max_tokens" in sent and "max_completion_tokens" in sentence:
            self._length = "max_completion_tokens"
            return self._learned("max_completion_tokens")
        if not _REFUSES.search(sentence) and not _SYSTEM.search(sentence):
            return False
        if "max_completion_tokens" in sent and "max_completion_tokens" in sentence:
            self._length = "max_tokens"
            return self._learned("max_tokens")
        refused = {name for name in _HARMLESS if name in sent and name not in self._extra and name in sentence}
        if refused:
            self._left_out |= refused
            return self._learned(*refused)
        if _SYSTEM.search(sentence) and any(one["role"] in ("system", "developer") for one in sent["messages"]):
            self._system = "none"
            return self._learned("system")
        return False

    def _learned(self, *names: str) -> bool:
        log.info("engine.parameter_refused", model=self._model, parameters=sorted(names))
        return True

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        if self._system != "none":
            return [
                {**_written(one), "role": self._system} if one.role == "system" else _written(one) for one in messages
            ]
        rules = [one.content for one in messages if one.role == "system"]
        written = [_written(one) for one in messages if one.role != "system"]
        if rules and written and written[0]["role"] == "user":
            written[0]["content"] = "\n\n".join([*rules, written[0]["content"]])
        elif rules:
            written.insert(0, {"role": "user", "content": "\n\n".join(rules)})
        return written


def _written(message: Message) -> dict[str, Any]:
    """A turn as JSON."""
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
        # Where calls say it all, engines take null; some refuse an empty text.
        written["content"] = message.content or None
    if message.tool_call_id is not None:
        written["tool_call_id"] = message.tool_call_id
    return written
