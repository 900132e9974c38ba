"""Turns a question into weighted terms: content words count fully, fragments of particles and endings little."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from infra.text.dictionary import UserDictionary
from infra.text.kiwi import KiwiAnalyser
from infra.text.references import references
from infra.text.terms import Vocabulary, bigram_ids
from infra.text.tidying import tidy

_NAMING: Final = ("NNG", "NNP", "NR", "XR", "SL", "SH", "SN", "W_")

BIGRAM_WEIGHTS: Final = (0.25, 0.5, 1.0)
"""The weight of a bigram with none, one or both of its characters in a noun, a number or a foreign word.

"인가" of "왕인가요" is rare in encyclopaedias, so IDF overrates it. Chosen on KoBEST BoolQ train (R@1 .930 to .936)
and on its passages joined into documents of 20,000 characters (.916 to .921); the dev set gains as much.
"""


class Morph(NamedTuple):
    """A morpheme of a tidy text: its form and tag, and its half-open offsets."""

    form: str
    tag: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A tidy text, its morphemes in order, and the weight of each of its terms."""

    text: str
    morphs: list[Morph]
    weights: dict[int, float]


def read_question(
    text: str, analyser: KiwiAnalyser, vocabulary: Vocabulary, known: UserDictionary | None = None
) -> Reading:
    """The terms of a question, or of a word in it: morphemes at weight 1, bigrams at `BIGRAM_WEIGHTS`."""
    clean = tidy(text)
    morphs: list[Morph] = []
    weights: dict[int, float] = {}
    for window in analyser.windows([clean], known):
        at = window.start
        morphs += [Morph(t.form, str(t.tag), at + t.start, at + t.end) for t in window.tokens]
        found = vocabulary.terms(window.tokens)
        weights.update(dict.fromkeys(found[found >= 0].tolist(), 1.0))
    named = bytearray(len(clean) + 1)
    for morph in morphs:
        if morph.tag.startswith(_NAMING):
            named[morph.start : morph.end] = b"\1" * (morph.end - morph.start)
    ids, offsets = bigram_ids(clean)
    for term, at in zip(ids.tolist(), offsets.tolist(), strict=True):
        paired = clean[at + 1 : at + 2].isalnum()
        weight = BIGRAM_WEIGHTS[named[at] + named[at + paired]]
        weights[term] = max(weights.get(term, 0.0), weight)
    weights.update(dict.fromkeys(references(clean)[0].tolist(), 1.0))
    return Reading(clean, morphs, weights)
