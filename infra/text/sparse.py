"""Term weights for retrieval without a model: Kiwi content morphemes united with character bigrams, BM25-saturated."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from unicodedata import normalize
from zlib import crc32

from infra.text.kiwi import KiwiAnalyser, Morpheme, readable, shared_analyser
from schemas.retrieval import SparseVector

CONTENT_TAGS: Final = frozenset(["NNG", "NNP", "NNB", "NR", "NP", "VV", "VA", "XR", "SL", "SH", "SN", "MAG", "MM"])
"""Kiwi's tags of morphemes that carry meaning; web tags (`W_URL`, `W_HASHTAG`, ...) count as well."""

_MORPHEME: Final = "m"
_BIGRAM: Final = "2"
_WORD: Final = re.compile(r"[^\W_]+")


def tidy(text: str) -> str:
    """Text as terms are taken from it: NFC, lower case, without NUL and lone surrogates."""
    return normalize("NFC", readable(text)).lower()


def is_content(morpheme: Morpheme) -> bool:
    """Whether a morpheme carries meaning of its own. Kiwi marks irregular stems `VV-I`, regular ones `VV-R`."""
    return morpheme.tag.split("-")[0] in CONTENT_TAGS or morpheme.tag.startswith("W_")


def bigrams(text: str) -> Iterator[str]:
    """Pairs of neighbouring letters or digits within a word; a word of one character is itself."""
    for match in _WORD.finditer(text):
        word = match.group()
        if len(word) == 1:
            yield word
        for first, second in itertools.pairwise(word):
            yield first + second


def term_id(namespace: str, term: str) -> int:
    """uint32 id of a term; the same in every process. Equal terms of two namespaces have different ids."""
    return crc32(f"{namespace}\x00{term}".encode())


class KiwiSparseEncoder:
    """Sparse vectors whose dot product, with IDF from the index, is BM25 (Robertson and Zaragoza 2009, section 3).

    `k1` >= 0 is how slowly repeats saturate, `b` in 0..1 how much length counts, `average_length` the mean number of
    terms in a chunk (Korean has about 0.76 a character); it is fixed, so that vectors of different days agree.
    """

    def __init__(
        self,
        k1: float = 0.6,
        b: float = 0.4,
        average_length: float = 150.0,
        *,
        analyser: KiwiAnalyser | None = None,
    ) -> None:
        if k1 < 0 or not 0 <= b <= 1 or average_length <= 0:
            raise ValueError("need k1 >= 0, 0 <= b <= 1 and average_length > 0")
        self._k1 = k1
        self._b = b
        self._average = average_length
        self._analyser = analyser or shared_analyser()

    @property
    def name(self) -> str:
        """`kiwi-bigram-1`, with every setting that changes its vectors."""
        return f"kiwi-bigram-1(k1={self._k1:g},b={self._b:g},average={self._average:g})"

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Saturated term frequencies, one vector a text; empty for a text without content. Blocking and CPU-bound."""
        return [self._weigh(counts) for counts in self._count(texts)]

    def encode_query(self, text: str) -> SparseVector:
        """Weight 1 for each distinct term; empty when the text holds no content. Blocking, well under a millisecond."""
        (counts,) = self._count([text])
        indices = sorted(counts)
        return SparseVector(indices, [1.0] * len(indices))

    def content_morphemes(self, texts: Sequence[str]) -> list[list[Morpheme]]:
        """The content morphemes of each text, in order, repeats kept. Blocking."""
        clean = [tidy(text) for text in texts]
        return [[m for m in found if is_content(m)] for found in self._analyser.morphemes(clean)]

    def _count(self, texts: Sequence[str]) -> Iterator[Counter[int]]:
        clean = [tidy(text) for text in texts]
        for text, found in zip(clean, self._analyser.morphemes(clean), strict=True):
            yield Counter(_term_ids(text, found))

    def _weigh(self, counts: Counter[int]) -> SparseVector:
        length = counts.total() / self._average
        norm = self._k1 * (1 - self._b + self._b * length)
        indices = sorted(counts)
        return SparseVector(indices, [counts[i] * (self._k1 + 1) / (counts[i] + norm) for i in indices])


def _term_ids(text: str, morphemes: Iterable[Morpheme]) -> Iterator[int]:
    for morpheme in morphemes:
        if is_content(morpheme):
            yield term_id(_MORPHEME, morpheme.form)
    for pair in bigrams(text):
        yield term_id(_BIGRAM, pair)
