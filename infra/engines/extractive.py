"""Answers without a model: quotes the sentence that answers and what belongs to it, or says that it found nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from infra.engines.asked import Asked
from infra.engines.evidence import Subject
from infra.engines.passages import Reading, read, whole
from infra.text.kiwi import KiwiAnalyser, shared_analyser
from schemas.retrieval import GeneratedAnswer, Passage

THRESHOLD: Final = 0.49
"""Evidence below which nothing was found.

Chosen on KoBEST BoolQ train: 95.5 % of its questions are found with their own passage in the corpus, 27.5 % without it.
"""

NOT_FOUND: Final = "주어진 문서에서 이 질문에 답할 근거를 찾지 못했습니다."

_MAX_READ: Final = 20
"""Passages that are read, from the best one: each takes Kiwi about 3 ms."""

_MAX_QUOTES: Final = 3
_RIVAL: Final = 0.85
"""A further sentence is quoted when it scores at least this share of the best one."""

_BROUGHT: Final = 0.2
"""The weight of a sentence that contains what is asked; covering the whole question weighs 1."""

_LATER: Final = 0.2
"""How much less a passage far down the retriever's order is trusted than its first."""

_POINTING: Final = frozenset(["이", "그", "그녀", "그것", "이것", "이곳", "그곳", "여기", "거기", "이때", "그때"])
"""First words of a sentence that is about what the one before it named; conjunctions (`MAJ`) are as well."""


class ExtractiveAnswerer:
    """Quotes sentences, the answering one first. `threshold` in 0..1 is the evidence needed to answer at all.

    A worker runs it in isolated processes (`infra.analysis.answers`). Evidence is how far a passage, with its title and
    heading, covers the question.
    """

    def __init__(self, analyser: KiwiAnalyser | None = None, threshold: float = THRESHOLD) -> None:
        self._analyser = analyser or shared_analyser()
        self._threshold = threshold

    @property
    def name(self) -> str:
        """`extractive`."""
        return "extractive"

    def evidence(self, question: str, passages: Sequence[Passage]) -> list[float]:
        """How far each of the first 20 passages covers the question, 0..1. Blocking."""
        return _Search(self._analyser, question, passages).evidence

    def answer(self, question: str, passages: Sequence[Passage]) -> GeneratedAnswer:
        """Up to three sentences, each followed by its source as ` [1]`; or `NOT_FOUND` without citations. Blocking."""
        search = _Search(self._analyser, question, passages)
        best = max(search.evidence, default=0.0)
        quotes = search.quotes() if best and best >= self._threshold else []
        if not quotes:
            return GeneratedAnswer(NOT_FOUND, [], self.name, found=False)
        lines: list[str] = []
        cited: list[int] = []
        for at, sentence in quotes:
            if at not in cited:
                cited.append(at)
            lines.append(f"{passages[at].text[sentence.start : sentence.end]} [{cited.index(at) + 1}]")
        return GeneratedAnswer("\n".join(lines), [passages[at] for at in cited], self.name)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence: its passage, its place there, its score, and its position in the document."""

    passage: int
    place: int
    sentence: Reading
    score: float
    document: str
    start: int
    end: int

    def repeats(self, other: "_Candidate") -> bool:
        """Whether both are the same words, or the same stretch of a document seen through overlapping windows."""
        overlap = self.document == other.document and self.start < other.end and other.start < self.end
        return overlap or self.sentence.joined == other.sentence.joined


class _Search:
    """One question's way through its passages."""

    def __init__(self, analyser: KiwiAnalyser, question: str, passages: Sequence[Passage]) -> None:
        self._passages = passages[:_MAX_READ]
        about = ["\n".join(filter(None, (passage.title, passage.heading))) for passage in self._passages]
        asked, *texts = read(analyser, [question, *about, *(passage.text for passage in self._passages)])
        self._question = whole(asked)
        self._about = [whole(sentences) for sentences in texts[: len(about)]]
        self._sentences = texts[len(about) :]
        readings = [whole([head, *sentences]) for head, sentences in zip(self._about, self._sentences, strict=True)]
        covered = Subject(self._question, readings).coverage()
        self.evidence = [share * (1 - _LATER * (1 - 1 / (at + 1))) for at, share in enumerate(covered)]

    def quotes(self) -> list[tuple[int, Reading]]:
        """What to quote, the answer first: of which passage, and the sentence."""
        # Stable: among equals the retriever's order holds, then the order of the text.
        ranked = sorted(self._candidates(), key=lambda candidate: -candidate.score)
        chosen: list[_Candidate] = []
        for candidate in ranked:
            if len(chosen) == _MAX_QUOTES or (chosen and candidate.score < _RIVAL * chosen[0].score):
                break
            if not any(candidate.repeats(other) for other in chosen):
                chosen.append(candidate)
        before = self._before(chosen[0], ranked) if chosen else None
        if before and not any(before.repeats(other) for other in chosen):
            chosen = [chosen[0], before, *chosen[1 : _MAX_QUOTES - 1]]
        return [(candidate.passage, candidate.sentence) for candidate in chosen]

    def _candidates(self) -> Iterator[_Candidate]:
        """Every sentence with its score: its passage's evidence, its coverage of the question, and what it contains."""
        asked = Asked(self._question)
        every = [sentence for sentences in self._sentences for sentence in sentences]
        subject = Subject(self._question, [*every, *self._about], focused=True)
        coverage = subject.coverage()
        number = 0
        for at, sentences in enumerate(self._sentences):
            passage = self._passages[at]
            said = subject.held(len(every) + at)
            for place, sentence in enumerate(sentences):
                score = self.evidence[at] + coverage[number] + subject.inherited(number, said)
                score += _BROUGHT * asked.brought(sentence)
                said |= subject.held(number)
                number += 1
                if sentence.joined not in self._about[at].joined:
                    start, end = passage.start + sentence.start, passage.start + sentence.end
                    yield _Candidate(at, place, sentence, score, passage.document_id, start, end)

    @staticmethod
    def _before(answer: _Candidate, ranked: Sequence[_Candidate]) -> _Candidate | None:
        """The sentence before the answer, when the answer points back at it."""
        opening = next((word for word in answer.sentence.words if word.tag[0] not in "SW"), None)
        if opening is None or not (opening.tag == "MAJ" or (opening.tag in ("NP", "MM") and opening.form in _POINTING)):
            return None
        place = (answer.passage, answer.place - 1)
        return next((candidate for candidate in ranked if (candidate.passage, candidate.place) == place), None)
