"""Answers a question from passages with any language model: what it reads, its instructions, and its citations."""

from collections.abc import Sequence
from typing import Final

from consumers.stages.inference.citations import cited
from consumers.stages.inference.context import within
from consumers.stages.inference.prompts import Language, prompt_for, says_not_found
from consumers.stages.ports import TextModel, Transcript
from consumers.stages.streaming import streamed
from schemas.errors import EngineRefusedToAnswer, EngineReplyCut, EngineReplyEmpty
from schemas.requester import Requester
from schemas.retrieval import GeneratedAnswer, Passage
from schemas.text import Completion, TextOptions

PASSAGE_CHARS: Final = 12_000
"""Characters of all passages together: some 6,000 tokens of Korean."""


class ModelAnswerer:
    """An `Answerer` with a `TextModel`. `language` is that of the prompt; None: the question's."""

    def __init__(
        self, model: TextModel, *, language: Language | None = None, passage_chars: int = PASSAGE_CHARS
    ) -> None:
        self._model = model
        self._language = language
        self._passage_chars = passage_chars

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def answer(
        self,
        question: str,
        passages: Sequence[Passage],
        options: TextOptions,
        *,
        by: Requester,
        transcript: Transcript | None = None,
    ) -> GeneratedAnswer:
        """The model's answer, its citations renumbered in the order of their mention.

        `transcript` gets the text as the model writes it, with the numbers of `passages`.

        Without passages the model is not asked. Raises what `TextModel` raises, and `EngineReplyEmpty`,
        `EngineReplyCut` and `EngineRefusedToAnswer` for a reply that holds no answer.
        """
        prompt = prompt_for(question, self._language)
        if not passages:
            return GeneratedAnswer(f"{prompt.not_found}.", [], self.name, found=False)
        shown = within(passages, self._passage_chars)
        messages = prompt.messages(question, shown)
        if transcript is None:
            reply = await self._model.complete(messages, options)
        else:
            reply = await streamed(self._model, messages, options, transcript)
        _check(reply, options)
        read = cited(reply.text, len(shown))
        return GeneratedAnswer(
            read.text,
            [passages[at] for at in read.order],
            reply.model,
            found=bool(read.order) or not says_not_found(read.text),
            usage=reply.usage,
            finish_reason=reply.finish_reason,
            citations_dropped=read.dropped,
            written=reply.text,
            numbers=[at + 1 for at in read.order],
        )

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()


def _check(reply: Completion, options: TextOptions) -> None:
    """Raise unless the reply holds an answer.

    None of this is an outage, and a repeated request would change nothing.
    """
    if reply.text:
        return
    if reply.refusal is not None:
        raise EngineRefusedToAnswer(f"the model refuses to answer: {reply.refusal[:500]}")
    match reply.finish_reason:
        case "content_filter":
            raise EngineRefusedToAnswer("the engine's content filter stopped the answer")
        case "length":
            raise EngineReplyCut(
                f"the model reached max_tokens ({options.max_tokens}) before it began to answer, probably in its"
                " thoughts: raise `generate.max_tokens`, or let it think less (WELIP_GENERATOR_BODY)"
            )
        case "tool_calls":
            raise EngineReplyEmpty("the model called a tool instead of answering; no tools were offered to it")
    raise EngineReplyEmpty("the engine replied without text; another model or setting may help")
