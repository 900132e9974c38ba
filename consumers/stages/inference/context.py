"""The passages that a language model reads: in order, within the budget, cut at the ends of sentences."""

import re
from collections.abc import Sequence
from typing import Final

from schemas.retrieval import Passage

_END: Final = re.compile(r"(?<=[^\W\d_])[.!?…]+[\"'”’)\]」』]*(?=\s|\Z)|[。！？]+[\"'”’)\]」』]*|(?<=\S)(?=\s*\n)")
"""The end of a sentence or of a line. A full stop after a digit does not count: it may belong to a number or a list."""
_ABBREVIATED: Final = re.compile(r"\b(?:[A-Z]|Dr|Mr|Mrs|Ms|No|St|vs|etc|e\.g|i\.e|cf|Fig|Art|Inc|Ltd|Co)\.\Z")


def within(passages: Sequence[Passage], budget: int) -> list[str]:
    """The texts of the first passages, titles in front, of `budget` characters at most.

    The passage that would exceed it is cut after its last sentence that fits, and the rest are left out. Where not one
    sentence fits, the first one of the first passage is shown anyway: a model needs something to answer from.
    """
    shown: list[str] = []
    for passage in passages:
        title = f"{passage.title}\n" if passage.title else ""
        room = budget - len(title)
        text = passage.text
        if len(text) > room:
            text = _whole_sentences(text, room) or ("" if shown else _first_sentence(text))
        if not text:
            break
        shown.append(title + text)
        budget -= len(title) + len(text)
        if len(text) < len(passage.text):
            break
    return shown


def _ends(text: str) -> list[int]:
    return [end.end() for end in _END.finditer(text) if not _ABBREVIATED.search(text, 0, end.end())]


def _whole_sentences(text: str, room: int) -> str:
    return text[: max((end for end in _ends(text) if end <= room), default=0)]


def _first_sentence(text: str) -> str:
    return text[: next(iter(_ends(text)), len(text))]
