"""Turns a window of text and its tokens into sentences, each with its terms."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from infra.text.kiwi import Window
from infra.text.references import references
from infra.text.terms import Vocabulary, bigram_ids
from infra.text.tidying import Tidied
from schemas.collections import Chunking
from schemas.retrieval import Sentence

_CELLS = " | "
"""The separator that parsers write between the cells of a table row; a row is one line."""


def read(text: str, clean: Tidied, window: Window, vocabulary: Vocabulary, chunking: Chunking | None) -> list[Sentence]:
    """The sentences of a window of `clean`, with offsets in `text`, the original that `clean` was made from.

    A sentence reaches to the start of the next one, so nothing lies between two. A morpheme or bigram belongs to the
    sentence that it begins in.
    """
    cuts, tokens = _sentence_starts(clean, window)
    if chunking is not None:
        cuts = _fitting(text, _by_rows(text, cuts, chunking.max_chars), tokens.tolist(), chunking)
    terms = vocabulary.terms(window.tokens)
    content = terms >= 0
    terms, terms_at = terms[content].astype(np.uint32), tokens[content]
    stretch = clean.text[window.start : window.end]
    pairs, pairs_at = bigram_ids(stretch)
    named, named_at = references(stretch)
    if len(named):
        # Sorted, because the search for each one's sentence needs them in order.
        order = np.argsort(np.concatenate([pairs_at, named_at]), kind="stable")
        pairs = np.concatenate([pairs, named])[order]
        pairs_at = np.concatenate([pairs_at, named_at])[order]
    pairs_at = clean.original(pairs_at + window.start)
    edges = np.array(cuts)
    of_tokens, of_terms, of_pairs = (np.searchsorted(at, edges).tolist() for at in (tokens, terms_at, pairs_at))
    found: list[Sentence] = []
    for at in range(len(cuts) - 1):
        first, last = _strip(text, cuts[at], cuts[at + 1])
        if first < last:
            ids = array("I", terms[of_terms[at] : of_terms[at + 1]].tobytes())
            ids.frombytes(pairs[of_pairs[at] : of_pairs[at + 1]].tobytes())
            # A morpheme can end within another one's character. More than fit count as a full chunk.
            count = of_tokens[at + 1] - of_tokens[at]
            most = chunking and chunking.max_tokens
            found.append(Sentence(first, last, ids, min(count, most) if most else count))
    return found


def _sentence_starts(clean: Tidied, window: Window) -> tuple[list[int], NDArray[np.int64]]:
    """Offsets in the original: where the window's sentences begin, followed by the window's end; and its tokens."""
    # Kiwi may list a token before an earlier one, which the later token reaches back over.
    starts = np.maximum.accumulate(np.fromiter([token.start for token in window.tokens], np.int64))
    numbers = np.fromiter([token.sent_position for token in window.tokens], np.int64)
    tokens = clean.original(starts + window.start)
    begins = tokens[1:][numbers[1:] != numbers[:-1]].tolist()
    first, end = clean.original(np.array([window.start, window.end])).tolist()
    return [first, *begins, end], tokens


def _by_rows(text: str, cuts: list[int], max_chars: int) -> list[int]:
    """`cuts` with one before and one after each table row that fits into a chunk, and none inside such a row."""
    start, end = cuts[0], cuts[-1]
    at = text.find(_CELLS, start, end)
    if at < 0:
        return cuts
    edges: list[int] = []
    done = 0
    while at >= 0:
        first = max(text.rfind("\n", start, at) + 1, start)
        last = text.find("\n", at, end)
        last = end if last < 0 else last
        if last - first <= max_chars:
            edges += cuts[done : bisect_right(cuts, first - 1)]
            edges += [first, last]
            done = bisect_right(cuts, last)
        at = text.find(_CELLS, last, end)
    edges += cuts[done:]
    return sorted({*edges, end})


def _fitting(text: str, cuts: list[int], tokens: list[int], chunking: Chunking) -> list[int]:
    """`cuts` with more where a sentence is larger than a chunk: at line ends, else white space, else tokens."""
    fitting: list[int] = []
    for start, end in pairwise(cuts):
        fitting.append(start)
        if end - start > chunking.max_chars or chunking.max_tokens is not None:
            fitting += _split(text, start, end, tokens, chunking)
    fitting.append(cuts[-1])
    return fitting


def _split(text: str, start: int, end: int, tokens: list[int], chunking: Chunking) -> Iterator[int]:
    start, end = _strip(text, start, end)
    large = _limit(start, tokens, chunking) < end
    while large:
        line = text.find("\n", start, end)
        limit = _limit(start, tokens, chunking)
        if 0 <= line <= limit:
            cut = line
        elif limit < end:
            cut = _cut(text, start, limit, tokens)
        else:
            return
        start, _ = _strip(text, cut, end)
        yield start


def _limit(start: int, tokens: list[int], chunking: Chunking) -> int:
    """How far a chunk that begins at `start` may reach."""
    limit = start + chunking.max_chars
    if chunking.max_tokens is not None:
        beyond = bisect_right(tokens, start - 1) + chunking.max_tokens
        if beyond < len(tokens):
            limit = max(min(limit, tokens[beyond]), start + 1)
    return limit


def _cut(text: str, start: int, limit: int, tokens: list[int]) -> int:
    """The last white space in the second half of `text[start:limit]`, else the last token there, else its end."""
    half = (start + limit) // 2
    blank = next((at for at in range(limit, half, -1) if text[at].isspace()), None)
    if blank is not None:
        return blank
    token = tokens[at - 1] if (at := bisect_right(tokens, limit)) else 0
    return token if token > half else limit


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    """The offsets of `text[start:end]` without surrounding white space."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
