"""Simpler rankings: BM25 over words between blanks, and over only the content morphemes that Kiwi finds."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from unicodedata import normalize
from zlib import crc32

import numpy as np
from kiwipiepy import Kiwi

from benchmarks.retrieval.arms import DEPTH
from benchmarks.retrieval.data import encoded
from consumers.ranking.lexical import Postings
from consumers.tuning.fusing import best
from consumers.tuning.judged import JudgedDocument
from infra.text.terms import is_content
from schemas.collections import SparseSettings
from schemas.retrieval import SparseVector


class Bm25:
    """BM25 (Robertson and Zaragoza 2009) with the default k1 and b of Lucene and Elasticsearch."""

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        self._k1, self._b = k1, b
        self._ids: list[str] = []

    def terms(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """The terms of each text, repeats included: the words between blanks."""
        for text in texts:
            yield normalize("NFC", text).lower().split()

    def index(self, corpus: Sequence[JudgedDocument]) -> None:
        """Count and weigh the terms of every document."""
        self._ids = [document.id for document in corpus]
        counts = [Counter(terms) for terms in self.terms(map(encoded, corpus))]
        average = float(np.mean([count.total() for count in counts])) or 1.0
        self._postings = Postings([self._weigh(count, count.total() / average) for count in counts])

    def search(self, question: str) -> list[str]:
        """The ids of the best documents."""
        (terms,) = self.terms([question])
        hashes = sorted({crc32(term.encode()) for term in terms})
        found = best(self._postings.scores(SparseVector(hashes, [1.0] * len(hashes))), DEPTH)
        return [self._ids[chunk] for chunk in found.chunks]

    def _weigh(self, count: Counter[str], length: float) -> SparseVector:
        norm = self._k1 * (1 - self._b + self._b * length)
        weights = {crc32(term.encode()): n * (self._k1 + 1) / (n + norm) for term, n in count.items()}
        indices = sorted(weights)
        return SparseVector(indices, [weights[i] for i in indices])


class KiwiContent(Bm25):
    """BM25 over Kiwi's content morphemes: nouns, verbs, adjectives, roots, adverbs, numbers, foreign words.

    With the k1 and b of `settings`, so that any remaining difference comes from the terms.
    """

    def __init__(self, kiwi: Kiwi, settings: SparseSettings | None = None) -> None:
        super().__init__(*((settings.k1, settings.b) if settings else ()))
        self._kiwi = kiwi

    def terms(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """The dictionary forms of content morphemes."""
        for tokens in self._kiwi.tokenize(normalize("NFC", text).lower() for text in texts):
            yield [token.form for token in tokens if is_content(token.tag)]
