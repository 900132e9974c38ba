"""Answers a question from passages with any language model: what it reads, its instructions, and its citations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Final

from consumers.stages.inference.citations import cited
from consumers.stages.inference.cited_json import cited_json
from consumers.stages.inference.context import characters, titled, within
from consumers.stages.ports import TextModel, Transcript
from consumers.stages.prompts import history_block, passages_block
from consumers.stages.streaming import streamed
from schemas.errors import EngineRefusedToAnswer, EngineReplyCut, EngineReplyEmpty
from schemas.prompts import Language, Prompt, Prompts, Wording
from schemas.requester import Requester
from schemas.retrieval import GeneratedAnswer, Passage, SearchQuestion
from schemas.text import Completion, Message, TextOptions

PASSAGE_CHARS: Final = 12_000
"""Characters of all passages together: some 6,000 tokens of Korean."""
QUESTION_TOKENS: Final = 200
"""Of a condensed question."""
QUESTION_CHARS: Final = 2_000
BYTES_A_TOKEN: Final = 3
"""Where there is no tokenizer: a syllable of Hangul, three letters of English. Present tokenizers need fewer tokens."""
FRAME_TOKENS: Final = 16
"""What a chat template puts around a turn, at most."""


class ModelAnswerer:
    """An `Answerer` with a `TextModel`. `language` is that of the default prompt; None: the question's.

    The passages have at most `passage_chars` characters, and fit into the model's context where its length is known.
    """

    def __init__(
        self,
        model: TextModel,
        prompts: Prompts,
        *,
        language: Language | None = None,
        passage_chars: int = PASSAGE_CHARS,
    ) -> None:
        self._model = model
        self._prompts = prompts
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
        wording: Wording = Wording(),  # noqa: B008 - it never changes
    ) -> GeneratedAnswer:
        """The model's answer, its citations renumbered in the order of their mention.

        `transcript` gets the text as the model writes it, with the numbers of `passages`. An answer in JSON stays JSON:
        citations are read in its texts, and in its list `citations`.

        Without passages the model is not asked. Raises what `TextModel` raises, `EngineReplyEmpty`, `EngineReplyCut`
        and `EngineRefusedToAnswer` for a reply that holds no answer, and `PromptNotFound`.
        """
        prompt = self._prompt(question, wording)
        if not passages:
            return GeneratedAnswer(f"{prompt.not_found}.", [], self.name, found=False)
        variables = {**(wording.variables or {}), "question": question}
        history = await self._recent(wording.history)
        shown = await self._fitting(passages, prompt, variables, history, options)
        block = passages_block([titled(passage) for passage in shown])
        messages = _told(prompt, {**variables, "passages": block}, history)
        if transcript is None:
            reply = await self._model.complete(messages, options)
        else:
            reply = await streamed(self._model, messages, options, transcript)
        _check(reply, options)
        in_json = options.schema is not None or options.json_object
        read = (cited_json(reply.text, len(shown)) if in_json else None) or cited(reply.text, len(shown))
        return GeneratedAnswer(
            read.text,
            [passages[at] for at in read.order],
            reply.model,
            found=bool(read.order) or not self._prompts.says_not_found(read.text),
            usage=reply.usage,
            finish_reason=reply.finish_reason,
            citations_dropped=read.dropped,
            written=reply.text,
            numbers=[at + 1 for at in read.order],
        )

    async def condense(self, question: str, history: Sequence[Message], options: TextOptions) -> SearchQuestion | None:
        """The question as the model writes it anew; None where it writes nothing of use."""
        prompt = self._prompts.default("condense", question, self._language)
        block = history_block(await self._recent(history))
        messages = prompt.messages({"history": block, "question": question})
        asked = replace(options, max_tokens=QUESTION_TOKENS, temperature=0.0, schema=None, json_object=False)
        reply = await self._model.complete(messages, asked)
        # Cut at `max_tokens` it is no question: the model began to answer.
        written = " ".join(reply.text.split()).strip("\"'“”‘’ ")
        if reply.finish_reason == "length" or not 0 < len(written) <= QUESTION_CHARS:
            return None
        return SearchQuestion(written, reply.usage)

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()

    def _prompt(self, question: str, wording: Wording) -> Prompt:
        if wording.prompt is None:
            return self._prompts.default("answer", question, self._language)
        return self._prompts.checked(wording.prompt, wording.variables or {}, field="input.generate")

    async def _fitting(
        self,
        passages: Sequence[Passage],
        prompt: Prompt,
        variables: Mapping[str, str],
        history: Sequence[Message],
        options: TextOptions,
    ) -> list[Passage]:
        """The passages that the model reads: within the characters, and within what its context leaves to them."""
        shown = await within(passages, self._passage_chars)
        length = self._model.context_length
        if length is None:
            return shown
        around = _told(prompt, {**variables, "passages": ""}, history)
        used = sum(await self._framed([turn.content for turn in around])) + FRAME_TOKENS
        # A reply that may fill the whole context leaves half of it to what it answers from.
        return await within(shown, length - used - min(options.max_tokens, length // 2), self._as_passages)

    async def _recent(self, history: Sequence[Message]) -> Sequence[Message]:
        """The last turns that fit into a quarter of the context, or half the characters of the passages."""
        length = self._model.context_length
        measure, room = (characters, self._passage_chars // 2) if length is None else (self._framed, length // 4)
        kept = 0
        for size in reversed(await measure([turn.content for turn in history])):
            room -= size
            if room < 0:
                break
            kept += 1
        return history[len(history) - kept :]

    async def _as_passages(self, texts: Sequence[str]) -> list[int]:
        return await self._tokens([f"{passages_block([text])}\n" for text in texts])

    async def _framed(self, texts: Sequence[str]) -> list[int]:
        return [tokens + FRAME_TOKENS for tokens in await self._tokens(texts)]

    async def _tokens(self, texts: Sequence[str]) -> list[int]:
        counted = await self._model.lengths(texts)
        return [ceil(len(text.encode()) / BYTES_A_TOKEN) for text in texts] if counted is None else counted


def _told(prompt: Prompt, variables: Mapping[str, str], history: Sequence[Message]) -> list[Message]:
    """The rules, the turns before, and the question."""
    rules, asked = prompt.messages(variables)
    return [rules, *history, asked]


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
