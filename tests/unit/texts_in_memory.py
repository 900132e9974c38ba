"""What analyses, embeds, answers and writes texts, in memory."""

import math
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from consumers.stages.ports import Transcript
from schemas.collections import Chunking, SparseSettings
from schemas.errors import DocumentRefused, EngineRefused, JobError
from schemas.morphemes import Morpheme
from schemas.prompts import Wording
from schemas.requester import Requester
from schemas.retrieval import (
    Embedding,
    GeneratedAnswer,
    Passage,
    SearchQuestion,
    Sentence,
    SparseVector,
)
from schemas.text import Completion, Message, TextDelta, TextOptions


@dataclass
class WordEncoder:
    """Sentences end with a full stop, terms are words."""

    name: str = "words"
    analysed: list[str] = field(default_factory=list)

    async def analyse(
        self, texts: Sequence[str], settings: SparseSettings, chunking: Chunking | None = None, *, by: Requester
    ) -> list[list[Sentence] | DocumentRefused]:
        self.analysed.extend(texts)
        return [
            [
                Sentence(match.start(), match.end(), terms := self._terms(match.group()), len(terms))
                for match in re.finditer(r"[^.\s][^.]*\.?", text)
            ]
            for text in texts
        ]

    def weigh(self, pieces: Iterable[Sequence[int]], settings: SparseSettings) -> SparseVector:
        ids = sorted({term for piece in pieces for term in piece})
        return SparseVector(ids, [1.0] * len(ids))

    async def encode_query(self, text: str, settings: SparseSettings, *, by: Requester) -> SparseVector:
        return self.weigh([self._terms(text)], settings)

    async def warm(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _terms(self, text: str) -> list[int]:
        return [crc32(word.encode()) for word in re.findall(r"\w+", text)]


@dataclass
class LengthEmbedder:
    name: str = "lengths"
    dimension: int = 2
    learned: bool = False
    refuses: str = "\0"
    """Texts that contain this are refused."""

    async def embed_documents(self, texts: Sequence[str]) -> list[Embedding | JobError]:
        return [EngineRefused("too long") if self.refuses in text else await self.embed_query(text) for text in texts]

    async def embed_query(self, text: str) -> Embedding:
        angle = float(len(text) % 7)
        return Embedding([math.cos(angle), math.sin(angle)] + [0.0] * (self.dimension - 2))

    async def close(self) -> None:
        return None


class WordMorphemes:
    """Words are morphemes, and a full stop is a symbol; what contains a NUL cannot be analysed."""

    async def morphemes(self, texts: Sequence[str], *, by: Requester) -> list[list[Morpheme] | DocumentRefused]:
        return [
            DocumentRefused("no text", code="analysis_failed")
            if "\0" in text
            else [Morpheme(word, "SF" if word == "." else "NNG") for word in re.findall(r"[\w,]+|[.]", text)]
            for text in texts
        ]


class FirstPassage:
    name = "first"

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
        if not passages:
            return GeneratedAnswer("없음", [], self.name, found=False)
        return GeneratedAnswer(f"{passages[0].text} [1]", passages[:1], self.name)

    async def condense(self, question: str, history: Sequence[Message], options: TextOptions) -> SearchQuestion | None:
        return None

    async def close(self) -> None:
        return None


class EchoModel:
    """Repeats the last message, in two pieces."""

    name = "echo"
    context_length: int | None = None

    async def lengths(self, texts: Sequence[str]) -> list[int] | None:
        return None

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        return Completion(messages[-1].content, "stop", self.name)

    async def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        whole = await self.complete(messages, options)
        half = len(whole.text) // 2
        yield TextDelta(whole.text[:half])
        yield TextDelta(whole.text[half:])
        yield whole

    async def close(self) -> None:
        return None


class Kept:
    """A transcript that keeps what it was given, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self) -> None:
        self.said.append("<begin>")

    def write(self, text: str) -> None:
        self.said.append(text)

    async def settle(self, text: str) -> None:
        self.said.append(f"<settled {text}>")
