"""What reads and writes texts: morphemes, language models, and answerers of a question from passages."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from consumers.stages.ports.transcript import Transcript
from schemas.errors import DocumentRefused
from schemas.morphemes import Morpheme
from schemas.prompts import Wording
from schemas.requester import Requester
from schemas.retrieval import GeneratedAnswer, Passage, SearchQuestion
from schemas.text import Completion, Likelihood, Message, TextDelta, TextOptions


class MorphemeAnalyser(Protocol):
    """Cuts texts into morphemes, as Kiwi finds them in Korean; foreign words are one each."""

    async def morphemes(self, texts: Sequence[str], *, by: Requester) -> list[list[Morpheme] | DocumentRefused]:
        """The morphemes of each text in their order, symbols included; or why that text has none."""


class TextModel(Protocol):
    """A language model that continues a conversation.

    Raises, besides `DependencyUnavailable`: `EngineRefused` for a request that it refuses, `EngineTrouble` for
    errors of its own that a retry may overcome. Neither is an outage.
    """

    @property
    def name(self) -> str:
        """What the result names as `model`."""

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        """The whole text at once."""

    def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        """The text while it is written; the last item is the `Completion`, and its text is the one that holds.

        Closing the generator stops the model. The deltas together are the completion's text, unless the model turns out
        to have begun with thoughts that nothing announced.
        """

    async def likelihoods(self, context: str, continuations: Sequence[str], options: TextOptions) -> list[Likelihood]:
        """How likely each of the continuations is after the context, without a chat template.

        After an empty context, a continuation that is longer than the model reads at once is read in windows. Of the
        options, `lane` and `adapter` count. Raises `EngineRefused` (`likelihoods_unsupported`) where the engine tells
        no probabilities of what it is given.
        """

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and reply together; None where nobody said."""

    async def lengths(self, texts: Sequence[str]) -> list[int] | None:
        """The tokens of each text by the model's own tokenizer; None where this process has none."""

    async def close(self) -> None:
        """Release connections and weights."""


class Answerer(Protocol):
    """Answers a question from passages."""

    @property
    def name(self) -> str:
        """What the result names as `model`."""

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
        """An answer whose citations are a subset of `passages`, or an honest "not found" (`found=False`).

        `wording` is for models; who quotes passages ignores it. What takes long to write goes into `transcript`
        meanwhile; the caller settles it.

        Raises what `TextModel` raises, `PromptNotFound`, and `EngineReplyEmpty`, `EngineReplyCut` and
        `EngineRefusedToAnswer` for a reply that holds no answer.
        """

    async def condense(self, question: str, history: Sequence[Message], options: TextOptions) -> SearchQuestion | None:
        """A question that makes sense without the conversation before it; None where no model can write one.

        Raises what `TextModel` raises.
        """

    async def close(self) -> None:
        """Release connections and models."""
