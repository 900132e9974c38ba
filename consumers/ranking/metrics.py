"""Metrics of retrieval, question by question, from the ranks of the relevant documents.

Relevance is yes or no, and a question may have several relevant documents. Definitions as in Manning, Raghavan and
Schütze (2008), "Introduction to Information Retrieval", section 8.4, and Järvelin and Kekäläinen (2002), "Cumulated
gain-based evaluation of IR techniques", with the discount 1 / log2(place + 1); `trec_eval` gives the same numbers.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Places:
    """The rank of each relevant document: `places[starts[q] : starts[q + 1]]` are those of question q.

    Places count from 1, the best; infinite for a document that was not found. Every question has one at least.
    """

    places: Values
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, rankings: Iterable[Sequence[str]], relevant: Iterable[Collection[str]]) -> "Places":
        """From ranked ids, best first, and relevant ids. Raises `ValueError` for a repeated id, or none relevant."""
        places: list[float] = []
        starts: list[int] = []
        for ranked, wanted in zip(rankings, relevant, strict=True):
            place = {found: number for number, found in enumerate(ranked, 1)}
            if len(place) != len(ranked):
                raise ValueError("a ranking names each document once; reduce chunks to documents first")
            if not wanted:
                raise ValueError(f"question {len(starts)} has no relevant document: nothing can be said of it")
            starts.append(len(places))
            places.extend(place.get(one, np.inf) for one in set(wanted))
        return cls(np.array(places, dtype=np.float64), np.array(starts, dtype=np.intp))

    @property
    def sizes(self) -> NDArray[np.intp]:
        """How many relevant documents each question has."""
        return np.diff(self.starts, append=len(self.places))


def documents(chunks: Iterable[str]) -> list[str]:
    """The documents of ranked chunks, best first: each ranks where its best chunk ranks."""
    return list(dict.fromkeys(chunks))


def recall(found: Places, k: int) -> Values:
    """The share of a question's relevant documents among the first `k`."""
    reached: Values = np.add.reduceat((found.places <= k).astype(np.float64), found.starts)
    return reached / found.sizes


def precision(found: Places, k: int) -> Values:
    """The share of the first `k` places that hold relevant documents; places without a document count as misses."""
    reached: Values = np.add.reduceat((found.places <= k).astype(np.float64), found.starts)
    return reached / k


def success(found: Places, k: int) -> Values:
    """1 when a relevant document is among the first `k`, else 0."""
    return (np.minimum.reduceat(found.places, found.starts) <= k).astype(np.float64)


def ndcg(found: Places, k: int) -> Values:
    """Gain of the relevant documents among the first `k`, discounted by place, as a share of the best possible."""
    gains = np.where(found.places <= k, 1 / np.log2(found.places + 1), 0.0)
    best = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    reached: Values = np.add.reduceat(gains, found.starts)
    ideal: Values = best[np.minimum(found.sizes, k) - 1]
    return reached / ideal


def reciprocal_rank(found: Places) -> Values:
    """1 / place of the first relevant document, 0 when none was found."""
    return 1 / np.minimum.reduceat(found.places, found.starts)


METRICS: Final[Mapping[str, Callable[[Places], Values]]] = {
    "recall@1": partial(recall, k=1),
    "recall@5": partial(recall, k=5),
    "ndcg@10": partial(ndcg, k=10),
    "mrr": reciprocal_rank,
}
"""What is reported. Where every question has one relevant document, `recall` and `success` are the same."""
