"""How close an answer is to its reference: exact match, F1, string presence and ROUGE-L, each in 0..1.

Exact match and the F1 of characters follow KorQuAD 1.0's `evaluate-v1.0.py` (Lim, Kim and Lee 2019, "KorQuAD1.0"), so
that figures compare with published ones. With several references the best one counts, as there and in SQuAD.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final, TypeVar

from schemas.normalisation import nfc

T = TypeVar("T", bound=Hashable)

_TO_BLANK: Final = "'\"《》<>〈〉()‘’"
"""What KorQuAD's script replaces by a blank. It removes all other ASCII punctuation."""

_TABLE: Final = str.maketrans({**dict.fromkeys(string.punctuation), **dict.fromkeys(_TO_BLANK, " ")})
_CITATION: Final = re.compile(r"\s*\[\d{1,3}(?:\s*,\s*\d{1,3})*\]")


def normalised(text: str) -> str:
    """NFC, lower case, without ASCII punctuation, quotation marks and brackets; runs of white space are one blank.

    KorQuAD's `normalize_answer`, with NFC before it: its data are NFC, answers of models need not be.
    """
    return " ".join(nfc(text).lower().translate(_TABLE).split())


def text_key(text: str) -> str:
    """What two texts have in common that differ only in case, punctuation, blanks or Unicode form."""
    return normalised(text).replace(" ", "")


def without_citations(answer: str) -> str:
    """The answer without its source numbers: `서울이다. [1]` becomes `서울이다.`"""
    return _CITATION.sub("", answer)


def exact_match(answer: str, reference: str) -> float:
    """1 when the normalised texts are equal, else 0."""
    return float(normalised(answer) == normalised(reference))


def contains(answer: str, reference: str) -> float:
    """1 when the normalised reference stands in the normalised answer, else 0. An empty reference stands nowhere."""
    wanted = normalised(reference)
    return float(bool(wanted) and wanted in normalised(answer))


def characters(text: str) -> list[str]:
    """The characters of the normalised text without blanks, of which KorQuAD's F1 is made."""
    return list(normalised(text).replace(" ", ""))


def f1(answer: Sequence[T], reference: Sequence[T]) -> float:
    """The harmonic mean of precision and recall of the answer's tokens, as bags; 1 when both are empty."""
    if not answer and not reference:
        return 1.0
    same = sum((Counter(answer) & Counter(reference)).values())
    return 2 * same / (len(answer) + len(reference))


def rouge_l(answer: Sequence[T], reference: Sequence[T]) -> float:
    """ROUGE-L (Lin 2004): F1 of the longest common subsequence, precision and recall weighed alike.

    1 when both are empty.
    """
    if not answer and not reference:
        return 1.0
    return 2 * common_subsequence(answer, reference) / (len(answer) + len(reference))


def common_subsequence(a: Sequence[T], b: Sequence[T]) -> int:
    """The length of the longest common subsequence, by Hyyrö's bit-parallel recurrence (2004).

    One step of big integers for each token of `a`, so ten thousand tokens against ten thousand take milliseconds.
    """
    places: dict[T, int] = {}
    for at, token in enumerate(b):
        places[token] = places.get(token, 0) | 1 << at
    all_ones = (1 << len(b)) - 1
    row = all_ones
    for token in a:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & all_ones
    return len(b) - row.bit_count()


def best(score: Callable[[T, T], float], answer: T, references: Sequence[T]) -> float:
    """The highest score over the references. Raises `ValueError` when there is none."""
    return max(score(answer, reference) for reference in references)
