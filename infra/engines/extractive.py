"""Answers without a model: quotes the sentences that share most with the question, or says that it found nothing."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from infra.text.kiwi import Morpheme
from infra.text.sparse import bigrams, tidy
from schemas.retrieval import GeneratedAnswer, Passage

THRESHOLD: Final = 0.43
"""Evidence below which nothing was found; calibrated on KoBEST BoolQ train: 2% of answerable questions lie below it."""

NOT_FOUND: Final = "주어진 문서에서 이 질문에 답할 근거를 찾지 못했습니다."

_MAX_PASSAGES: Final = 3
_MAX_SENTENCES: Final = 2
_RIVAL: Final = 0.9
"""A further passage is quoted when its evidence is at least this share of the best one's."""

_NAMING: Final = frozenset({"NNG", "NNP", "SL", "SH", "SN", "XR"})
_ASKING: Final = frozenset(
    {"하", "되", "있", "없", "이", "것", "수", "때", "등", "알", "알리", "주", "궁금", "무엇", "뭐", "어떻게", "어떤"}
    | {"얼마", "어디", "언제", "누구", "왜", "몇", "무슨", "어느"}
)
"""Words that questions are made of, not about."""


class _Splitter(Protocol):
    def split(self, text: str) -> list[tuple[int, int]]: ...


class _Encoder(Protocol):
    def content_morphemes(self, texts: Sequence[str]) -> list[list[Morpheme]]: ...


class ExtractiveGenerator:
    """Quotes passages. `threshold` in 0..1 is the evidence needed to answer at all; generation options do not apply.

    The evidence of a passage is the mean of two shares: of the question's content morphemes it holds, weighted by
    length, by whether they name something, and by rarity among the passages; and of the question's character bigrams.
    """

    def __init__(self, splitter: _Splitter, sparse_encoder: _Encoder, threshold: float = THRESHOLD) -> None:
        self._splitter = splitter
        self._encoder = sparse_encoder
        self._threshold = threshold

    @property
    def name(self) -> str:
        """`extractive`."""
        return "extractive"

    async def generate(self, question: str, passages: Sequence[Passage], options: object) -> GeneratedAnswer:
        """Up to three quotations, each ending in its source as `[1]`, `[2]`; or `NOT_FOUND` without citations."""
        return await asyncio.to_thread(self._answer, question, list(passages))

    async def close(self) -> None:
        """Nothing is held."""

    def evidence(self, question: str, passages: Sequence[Passage]) -> list[float]:
        """How far each passage covers the question, 0..1. Blocking."""
        return _Question(self._encoder, question, [_readable(passage) for passage in passages]).coverage()

    def _answer(self, question: str, passages: list[Passage]) -> GeneratedAnswer:
        evidence = self.evidence(question, passages)
        best = max(evidence, default=0.0)
        if best < self._threshold or best == 0.0:
            return GeneratedAnswer(NOT_FOUND, [], self.name, found=False)
        # Stable: among equals the retriever's order holds.
        order = sorted(range(len(passages)), key=lambda i: -evidence[i])
        rivals = [i for i in order if evidence[i] >= max(self._threshold, _RIVAL * best)]
        quotes: list[str] = []
        cited: list[Passage] = []
        for i in rivals[:_MAX_PASSAGES]:
            limit = 1 if cited else _MAX_SENTENCES
            quote = self._quote(question, passages[i].text, limit)
            # Windows overlap: the same sentence is not quoted from two of them.
            if quote and not any(quote in earlier for earlier in quotes):
                cited.append(passages[i])
                quotes.append(f"{quote} [{len(cited)}]")
        return GeneratedAnswer("\n".join(quotes), cited, self.name)

    def _quote(self, question: str, text: str, limit: int) -> str:
        """The sentences of `text` that cover most of the question, in the order of the text."""
        sentences = [text[start:end] for start, end in self._splitter.split(text)] or [text.strip()]
        covered = _Question(self._encoder, question, sentences).coverage()
        best = max(covered)
        chosen = sorted(range(len(sentences)), key=lambda i: -covered[i])[:limit]
        return " ".join(sentences[i] for i in sorted(chosen) if covered[i] >= best / 2)


class _Question:
    """What a question asks about, and which of some texts speak of it."""

    def __init__(self, encoder: _Encoder, question: str, texts: Sequence[str]) -> None:
        asked, *held = encoder.content_morphemes([question, *texts])
        self._forms = [{morpheme.form for morpheme in found} for found in held]
        # Without blanks, for compounds that are written together here and apart there.
        self._joined = ["".join(tidy(text).split()) for text in texts]
        self._pairs = set(bigrams(tidy(question)))
        naming = {m.form: m.tag in _NAMING or m.tag.startswith("W_") for m in asked if m.form not in _ASKING}
        # Fewer than five texts say little about rarity.
        among = max(len(texts), 5)
        self._weights = {
            form: min(len(form), 6) * (2 if names else 1) * (1 - sum(self._holders(form)) / (2 * among))
            for form, names in naming.items()
        }

    def coverage(self) -> list[float]:
        """For each text, in 0..1; 0 for all when the question names nothing."""
        total = sum(self._weights.values())
        if not total:
            return [0.0] * len(self._joined)
        shares = [0.0] * len(self._joined)
        for form, weight in self._weights.items():
            for i, holds in enumerate(self._holders(form)):
                shares[i] += weight / total if holds else 0.0
        return [(share + self._paired(joined)) / 2 for share, joined in zip(shares, self._joined, strict=True)]

    def _holders(self, form: str) -> list[bool]:
        return [
            form in forms or (len(form) > 1 and form in joined)
            for forms, joined in zip(self._forms, self._joined, strict=True)
        ]

    def _paired(self, joined: str) -> float:
        return sum(pair in joined for pair in self._pairs) / len(self._pairs) if self._pairs else 0.0


def _readable(passage: Passage) -> str:
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text
