"""Passages and questions as the extractive generator reads them: sentences, each with its morphemes, in one pass."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Final

import numpy as np
from kiwipiepy import Token

from infra.text.kiwi import KiwiAnalyser
from infra.text.terms import is_content
from infra.text.tidying import tidied

_NOUNS: Final = frozenset(["NNG", "NNP", "NR", "SL", "SH", "SN", "XR"])
_STEMS: Final = frozenset(["VV", "VA"])
_LINE: Final = re.compile(r"\n+")
_CELLS: Final = " | "
"""The separator that parsers write between the cells of a table row, which is one line."""


@dataclass(frozen=True, slots=True)
class Word:
    """A morpheme: its dictionary form, its tag without regularity, and how little Kiwi's language model expected it.

    `surprise` is in nats, at least 1: particles and everyday words have little, names and technical words have much.
    `surface` is how it is written, `glued` whether it belongs to one word with the morpheme before it.
    """

    form: str
    tag: str
    surprise: float
    surface: str
    glued: bool

    @property
    def content(self) -> bool:
        """Whether it carries meaning by itself."""
        return is_content(self.tag)

    @property
    def noun(self) -> bool:
        """Whether it names something: nouns, names, numbers, foreign and Chinese words."""
        return self.tag in _NOUNS or self.tag.startswith("W_")

    @property
    def stem(self) -> bool:
        """Whether it is the stem of a verb or an adjective."""
        return self.tag in _STEMS


@dataclass(frozen=True)
class Reading:
    """A stretch of a text, `text[start:end]`, with its morphemes; `tidy` is that stretch as terms are taken from it."""

    start: int
    end: int
    tidy: str
    words: Sequence[Word]

    @cached_property
    def forms(self) -> frozenset[str]:
        """The content morphemes."""
        return frozenset(word.form for word in self.words if word.content)

    @cached_property
    def joined(self) -> str:
        """Without blanks, for compounds that are written together here and apart there."""
        return "".join(self.tidy.split())

    def holds(self, form: str) -> bool:
        """Whether the content morpheme is here, if only as a part of a compound."""
        return form in self.forms or (len(form) > 1 and form in self.joined)


def read(analyser: KiwiAnalyser, texts: Sequence[str]) -> list[list[Reading]]:
    """The sentences of each text, in order. Blocking: about 50,000 characters a second for one thread of Kiwi."""
    tidy = [tidied(text) for text in texts]
    found: list[list[Reading]] = [[] for _ in texts]
    for window in analyser.windows([clean.text for clean in tidy]):
        clean = tidy[window.text]
        for tokens in _sentences(clean.text[window.start : window.end], window.tokens):
            # Kiwi may name a token before one that it reaches back over.
            start = window.start + min(token.start for token in tokens)
            end = window.start + max(token.end for token in tokens)
            first, last = clean.original(np.array([start, end])).tolist()
            words = list(_words(clean.text, window.start, tokens))
            found[window.text].append(Reading(first, last, clean.text[start:end], words))
    return found


def whole(sentences: Sequence[Reading]) -> Reading:
    """The sentences of one text as one."""
    words = [word for sentence in sentences for word in sentence.words]
    tidy = " ".join(sentence.tidy for sentence in sentences)
    return Reading(
        min((sentence.start for sentence in sentences), default=0),
        max((sentence.end for sentence in sentences), default=0),
        tidy,
        words,
    )


def _sentences(text: str, tokens: Sequence[Token]) -> list[list[Token]]:
    """The tokens sentence by sentence, a row of a table being one.

    None begins with a particle, as Kiwi's do after a closing bracket.
    """
    line_ends = [match.end() for match in _LINE.finditer(text)] if _CELLS in text else []
    rows = [_CELLS in text[start:end] for start, end in pairwise([0, *line_ends, len(text)])]

    def sentence(token: Token) -> tuple[int, int]:
        line = bisect_right(line_ends, token.start)
        return (line, -1) if rows[line] else (-1, token.sent_position)

    sentences: list[list[Token]] = []
    for _, group in groupby(tokens, key=sentence):
        held = list(group)
        if sentences and str(held[0].tag).startswith("J"):
            sentences[-1] += held
        else:
            sentences.append(held)
    return sentences


def _words(text: str, offset: int, tokens: Sequence[Token]) -> Iterator[Word]:
    before = -1
    for token in tokens:
        surface = text[offset + token.start : offset + token.end]
        tag, surprise = str(token.tag).split("-")[0], max(1.0, -token.score)
        yield Word(token.form, tag, surprise, surface, token.word_position == before)
        before = token.word_position
