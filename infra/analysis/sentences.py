"""Packs analysed sentences into raw bytes, to be sent from an isolated process to its worker."""

from array import array
from collections.abc import Sequence
from itertools import accumulate, chain

from schemas.retrieval import Sentence


def packed(analysed: Sequence[Sequence[Sentence]]) -> tuple[list[int], bytes]:
    """The number of sentences in each text, and all their numbers as 32 bits: starts, ends, tokens, terms, term ids."""
    flat = list(chain.from_iterable(analysed))
    numbers = array("I", [one.start for one in flat])
    numbers.extend(one.end for one in flat)
    numbers.extend(one.tokens for one in flat)
    numbers.extend(len(one.terms) for one in flat)
    ids = b"".join((one.terms if isinstance(one.terms, array) else array("I", one.terms)).tobytes() for one in flat)
    return [len(sentences) for sentences in analysed], numbers.tobytes() + ids


def unpacked(counts: Sequence[int], payload: bytes) -> list[list[Sentence]]:
    """The sentences of each text. Raises `ValueError` when the numbers are inconsistent."""
    numbers = array("I")
    numbers.frombytes(payload)
    total = sum(counts)
    starts, ends, tokens, lengths = (numbers[at * total : (at + 1) * total] for at in range(4))
    edges = list(accumulate(lengths, initial=4 * total))
    if edges[-1] != len(numbers):
        raise ValueError("the numbers of terms are not those that came")
    flat = iter(
        [
            Sentence(start, end, numbers[first:last], count)
            for start, end, count, first, last in zip(starts, ends, tokens, edges, edges[1:], strict=False)
        ]
    )
    return [[next(flat) for _ in range(count)] for count in counts]
