"""A conversation as the tokens that a model in this process reads, by the chat template of its own tokenizer."""

from collections.abc import Sequence
from typing import Any

from schemas.errors import EngineRefused
from schemas.text import Message, TextOptions


def tokens(
    tokenizer: Any, messages: Sequence[Message], options: TextOptions, *, model: str, context_length: int
) -> list[int]:
    """The prompt, up to where the assistant begins to write. Blocking: a long one takes a while.

    Raises `EngineRefused`: `prompt_too_long` if no room is left in the context for a first token, `tools_unsupported`
    for tools, whose calls each model writes in a way of its own, and `engine_refused` with the template's own words,
    for example for a role it does not know.
    """
    if options.tools or any(message.tool_calls or message.role == "tool" for message in messages):
        raise EngineRefused(
            f"the model {model} takes no tools: run it behind a server that reads their calls, such as `vllm serve`",
            code="tools_unsupported",
        )
    if options.raw:
        (text,) = (message.content for message in messages)
    else:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program of the model's author and raises anything
            raise EngineRefused(f"the model's chat template refuses the conversation: {error}") from error
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) >= context_length:
        raise EngineRefused(
            f"the prompt has {len(ids)} tokens, and the model's context holds {context_length}, answer included:"
            " send fewer or shorter messages or passages",
            code="prompt_too_long",
        )
    return ids
