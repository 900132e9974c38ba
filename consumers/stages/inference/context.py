"""The passages that a language model reads: best first, within the budget, cut at the ends of sentences."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from schemas.retrieval import Passage

_END: Final = re.compile(r"(?<=[^\W\d_])[.!?…]+[\"'”’)\]」』]*(?=\s|\Z)|[。！？]+[\"'”’)\]」』]*|(?<=\S)(?=\s*\n)")
"""The end of a sentence or of a line. A full stop after a digit does not count: it may belong to a number or a list."""
_ABBREVIATED: Final = re.compile(r"\b(?:[A-Z]|Dr|Mr|Mrs|Ms|No|St|vs|etc|e\.g|i\.e|cf|Fig|Art|Inc|Ltd|Co)\.\Z")


Measure = Callable[[Sequence[str]], Awaitable[Sequence[int]]]
"""How long each of some texts is, in whatever unit the budget has."""


async def characters(texts: Sequence[str]) -> Sequence[int]:
    """A measure without a tokenizer."""
    return [len(text) for text in texts]


async def within(passages: Sequence[Passage], budget: int, measure: Measure = characters) -> list[Passage]:
    """The first passages, whose texts with their titles have at most the length `budget` together.

    The passage that would exceed it is cut after its last sentence that fits, and the rest are left out. Where not one
    sentence fits, the first one of the first passage stays anyway: a model needs something to answer from.
    """
    kept: list[Passage] = []
    for passage, length in zip(passages, await measure([titled(one) for one in passages]), strict=True):
        if length <= budget:
            kept.append(passage)
            budget -= length
            continue
        cut = await _cut(passage, budget, measure) or (None if kept else _first_sentence(passage))
        return kept if cut is None else [*kept, cut]
    return kept


def titled(passage: Passage) -> str:
    """Its text as a model reads it, under the title."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


async def _cut(passage: Passage, room: int, measure: Measure) -> Passage | None:
    """As many whole sentences as fit; None where none does."""
    cuts = [replace(passage, text=passage.text[:end]) for end in _ends(passage.text)]
    # Longer texts are longer in every measure: the last that fits is found by halving.
    low, high = 0, len(cuts)
    while low < high:
        middle = (low + high + 1) // 2
        [length] = await measure([titled(cuts[middle - 1])])
        low, high = (middle, high) if length <= room else (low, middle - 1)
    return cuts[low - 1] if low else None


def _ends(text: str) -> list[int]:
    return [end.end() for end in _END.finditer(text) if not _ABBREVIATED.search(text, 0, end.end())]


def _first_sentence(passage: Passage) -> Passage:
    return replace(passage, text=passage.text[: next(iter(_ends(passage.text)), len(passage.text))])
