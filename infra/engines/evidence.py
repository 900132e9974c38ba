"""How far texts cover a question: the share of its words that they contain, weighted by information."""

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import pairwise
from math import sqrt
from typing import Final

from infra.engines.asked import ASKING
from infra.engines.passages import Reading, Word
from infra.text.terms import bigrams

_PAIRS: Final = 0.6
_PAIRS_FOCUSED: Final = 0.3
_PHRASES: Final = 0.2
"""What shared character pairs and shared neighbours count beside shared words, which count 1.

Those of a passage, and the two below, were chosen on KoBEST BoolQ train: the question's own passage against the best of
the others. Those of a sentence were chosen on the sample corpus and on questions about KoBEST passages. Quality is flat
around all of them.
"""

_STEM: Final = 0.7
_OTHER: Final = 0.4
"""The weight of verb stems and other words that are not nouns, relative to an equally surprising noun."""

_COMPOUND: Final = 2.0
"""The weight of a compound name relative to its most informative part: 하늘섬 is neither 하늘 nor 섬."""

_FEW: Final = 5
"""Fewer texts than these say little about how rare a word is."""


class Subject:
    """What a question is about, and which of `texts` speak of it.

    A word weighs as much as it surprised Kiwi's language model, and up to half less when the texts contain it too.
    `focused` is for sentences of texts on one topic: the question's last words, which ask, weigh up to three times as
    much as its first, which name the topic, and surprise counts by its square root.
    """

    def __init__(self, question: Reading, texts: Sequence[Reading], *, focused: bool = False) -> None:
        self._texts = texts
        named = [word for word in question.words if word.content and word.form not in ASKING]
        words = {word.form: word for word in reversed(named)}
        forms = list(dict.fromkeys(word.form for word in named))
        self._place = {form: (at + 1) / len(forms) for at, form in enumerate(forms)}
        self._holders = {form: [text.holds(form) for text in texts] for form in forms}
        self._weights = {
            form: (sqrt(tells) * (0.5 + self._place[form]) if focused else tells) * self._rarity(self._holders[form])
            for form, tells in ((form, _tells(words[form])) for form in forms)
        }
        for joined, telling in () if focused else _compounds(question.words):
            self._holders[joined] = [joined in text.joined for text in texts]
            self._weights[joined] = _COMPOUND * telling * self._rarity(self._holders[joined])
        # In a fixed order: sums of floats depend on it.
        self._pairs = {
            pair: self._rarity(pair in text.joined for text in texts)
            for pair in dict.fromkeys(bigrams(_naming(question.words)))
        }
        self._phrases = list(pairwise(word.form for word in named))
        self._pair_share = _PAIRS_FOCUSED if focused else _PAIRS
        self._whole = 1 + self._pair_share + _PHRASES
        self._total = sum(self._weights.values())

    def coverage(self) -> list[float]:
        """For each text, in 0..1; 0 for all when the question names nothing."""
        if not self._total:
            return [0.0] * len(self._texts)
        return [self._covered(at) for at in range(len(self._texts))]

    def held(self, at: int) -> set[str]:
        """What the question names and the text holds."""
        return {form for form, holders in self._holders.items() if holders[at]}

    def inherited(self, at: int, said: Set[str]) -> float:
        """The share, in the measure of `coverage`, of words that the text lacks and what was `said` before it held.

        A topic need not be named again: words of the question's first half count in full, its last word not at all.
        """
        if not self._total:
            return 0.0
        lacking = (form for form in self._weights if form in said and not self._holders[form][at])
        share = sum(self._weights[form] * min(1.0, 2 - 2 * self._place[form]) for form in lacking)
        return share / self._total / self._whole

    def _rarity(self, holders: Iterable[bool]) -> float:
        return 1 - sum(holders) / (2 * max(len(self._texts), _FEW))

    def _covered(self, at: int) -> float:
        text = self._texts[at]
        words = sum(weight for form, weight in self._weights.items() if self._holders[form][at])
        pairs = sum(weight for pair, weight in self._pairs.items() if pair in text.joined)
        neighbours = set(pairwise(word.form for word in text.words if word.content))
        phrases = sum(phrase in neighbours for phrase in self._phrases)
        return (
            words / self._total
            + self._pair_share * pairs / (sum(self._pairs.values()) or 1)
            + _PHRASES * phrases / (len(self._phrases) or 1)
        ) / self._whole


def _naming(words: Sequence[Word]) -> str:
    """The words as they are written, without what only asks or only joins."""
    parts = []
    for word in words:
        names = word.content and word.form not in ASKING
        parts.append(("" if word.glued else " ") + (word.surface if names else " "))
    return "".join(parts)


def _compounds(words: Sequence[Word]) -> Iterator[tuple[str, float]]:
    """Nouns written as one word, and the weight of the most informative one."""
    runs: list[list[Word]] = [[]]
    for word in words:
        names = word.noun and word.form not in ASKING
        if not (names and word.glued):
            runs.append([])
        if names:
            runs[-1].append(word)
    for run in runs:
        if len(run) > 1:
            yield "".join(word.surface for word in run), max(map(_tells, run))


def _tells(word: Word) -> float:
    return word.surprise * (1 if word.noun else _STEM if word.stem else _OTHER)
