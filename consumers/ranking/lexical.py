"""Exact scores of sparse vectors against all chunks, in memory: what the vector index computes, as numpy arrays.

For measuring and tuning, where one corpus is scored under many settings; serving goes through the vector index.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.retrieval import SparseVector


class Postings:
    """The chunks of each term, and the terms' rarity.

    `idf`: weigh terms as Qdrant does, `ln(1 + (N - n + 0.5) / (n + 0.5))`, N chunks of which n hold the term; saturated
    term frequencies then score as BM25 (Robertson and Zaragoza 2009, section 3).
    """

    def __init__(self, vectors: Sequence[SparseVector], *, idf: bool = True) -> None:
        self.chunks = len(vectors)
        lengths = [len(vector.indices) for vector in vectors]
        terms = np.fromiter((i for vector in vectors for i in vector.indices), np.int64, sum(lengths))
        # The order of the entries by term is found once: other weights of the same terms are a permutation away.
        self._order = np.argsort(terms, kind="stable")
        self._holders = np.repeat(np.arange(self.chunks, dtype=np.int32), lengths)[self._order]
        known, first, held = np.unique(terms[self._order], return_index=True, return_counts=True)
        self._spans = {int(t): (int(a), int(a + n)) for t, a, n in zip(known, first, held, strict=True)}
        rarity = np.log1p((self.chunks - held + 0.5) / (held + 0.5)) if idf else np.ones(len(held))
        self._rarity = np.repeat(rarity, held)
        self._weights = self._weighed(vectors)

    def reweigh(self, vectors: Sequence[SparseVector]) -> None:
        """Take the weights of `vectors`, which hold the same terms as those that this was made from."""
        self._weights = self._weighed(vectors)

    def scores(self, query: SparseVector) -> NDArray[np.float64]:
        """The dot product of the query with every chunk; 0 for one that shares no term."""
        spans = [
            (*self._spans[term], value)
            for term, value in zip(query.indices, query.values, strict=True)
            if term in self._spans
        ]
        if not spans:
            return np.zeros(self.chunks)
        holders = np.concatenate([self._holders[a:b] for a, b, _ in spans])
        weights = np.concatenate([self._weights[a:b] * value for a, b, value in spans])
        return np.asarray(np.bincount(holders, weights, self.chunks), dtype=np.float64)

    def highest(self, query: SparseVector) -> list[float]:
        """For each term of the query, the most that it gives to any chunk; 0 for one that no chunk holds."""
        return [
            float(self._weights[slice(*self._spans[term])].max()) * value if term in self._spans else 0.0
            for term, value in zip(query.indices, query.values, strict=True)
        ]

    def _weighed(self, vectors: Sequence[SparseVector]) -> NDArray[np.float64]:
        values = np.fromiter((w for vector in vectors for w in vector.values), np.float64, len(self._order))
        weighed: NDArray[np.float64] = values[self._order] * self._rarity
        return weighed
