"""Rankings of documents under many fusions at once: each question's best chunks are joined once, then only weighed.

Gives the same order as the vector index's own fusion (`infra.vectors.fusion`), which joins one query at a time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.metrics import Places
from infra.vectors.fusion import SPARSE, arms_that_count, compared, reweighed, weighed_by_question
from infra.vectors.weighing import log_odds
from schemas.collections import FusionSettings

Floats = NDArray[np.float64]
Ids = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Best:
    """One arm's answer to one question: chunk numbers, best first, and their scores."""

    chunks: Ids
    scores: Floats


def best(scores: Floats, depth: int, *, found: bool = True) -> Best:
    """The `depth` best of the scores of all chunks. `found`: leave out what scores 0, as an inverted index does."""
    chunks = np.arange(len(scores)) if len(scores) <= depth else np.argpartition(-scores, depth - 1)[:depth]
    if found:
        chunks = chunks[scores[chunks] > 0]
    chunks = chunks[np.lexsort((chunks, -scores[chunks]))]
    return Best(chunks, scores[chunks])


class Joined:
    """All arms' answers to all questions, side by side.

    `document_of` is each chunk's document number; chunks of a document are consecutive. `relevant` are such numbers.
    `ceilings` are those of the questions, as `infra.vectors.weighing` tells; only `auto` reads them.
    """

    def __init__(
        self,
        arms: Mapping[str, Sequence[Best]],
        document_of: Ids,
        relevant: Sequence[Collection[int]],
        ceilings: Sequence[float],
    ) -> None:
        questions = len(relevant)
        unions = [np.unique(np.concatenate([arm[q].chunks for arm in arms.values()])) for q in range(questions)]
        sizes = np.array([len(union) for union in unions])
        question = np.repeat(np.arange(questions), sizes)
        documents = document_of[np.concatenate(unions)] if sizes.sum() else np.zeros(0, dtype=np.intp)
        self._chunks = len(documents)
        self._arms = {name: _placed(arm, unions) for name, arm in arms.items()}
        self._question = question
        self._odds = cache(lambda model: _log_odds(arms[SPARSE], arms[model], document_of, ceilings))
        # One entry a question and document: its best chunk stands for it.
        new = np.ones(len(documents), dtype=bool)
        new[1:] = (documents[1:] != documents[:-1]) | (question[1:] != question[:-1])
        self._first_chunks = np.flatnonzero(new)
        entry_question, entry_document = question[new], documents[new]
        bounds = np.searchsorted(entry_question, np.arange(questions + 1))
        wanted = [(q, d) for q, some in enumerate(relevant) for d in sorted(some)]
        self._starts = np.searchsorted([q for q, _ in wanted], np.arange(questions))
        self._own = np.full(len(wanted), -1)
        rivals: list[Ids] = []
        for number, (q, d) in enumerate(wanted):
            a, b = bounds[q], bounds[q + 1]
            at = a + np.searchsorted(entry_document[a:b], d)
            if at < b and entry_document[at] == d:
                self._own[number] = at
                rivals.append(np.arange(a, b))
            else:
                rivals.append(np.zeros(0, dtype=np.intp))
        self._rivals = np.concatenate(rivals) if rivals else np.zeros(0, dtype=np.intp)
        self._contest = np.repeat(np.arange(len(wanted)), [len(some) for some in rivals])

    def places(self, fusion: FusionSettings) -> Places:
        """At which places the relevant documents stand under `fusion`; equal scores in the order of the documents."""
        scores, seen = np.zeros(self._chunks), np.zeros(self._chunks, dtype=bool)
        for name, weight in self._weights(fusion).items():
            scaled, ranks = self._arms[name]
            found = ranks > 0
            part = np.where(found, 1 / (ranks + fusion.rrf_k), 0.0) if fusion.method == "rrf" else scaled
            scores += weight * part
            seen |= found
        scores[~seen] = -np.inf
        score = np.maximum.reduceat(scores, self._first_chunks) if len(scores) else scores
        own = self._own[self._contest]
        ahead = (score[self._rivals] > score[own]) | ((score[self._rivals] == score[own]) & (self._rivals < own))
        places = np.asarray(1 + np.bincount(self._contest, ahead, len(self._own)), dtype=np.float64)
        lost = self._own < 0
        lost[~lost] = np.isneginf(score[self._own[~lost]])
        places[lost] = np.inf
        return Places(places, self._starts)

    def _weights(self, fusion: FusionSettings) -> dict[str, Floats]:
        """For each arm that counts, its weight for each candidate's question."""
        weights = arms_that_count(self._arms, fusion)
        if not weighed_by_question(weights, fusion):
            return {name: np.full(self._chunks, weight) for name, weight in weights.items()}
        each = [reweighed(weights, odds) for odds in self._odds(compared(weights))]
        return {name: np.array([one[name] for one in each])[self._question] for name in weights}


def _log_odds(
    sparse: Sequence[Best], model: Sequence[Best], document_of: Ids, ceilings: Sequence[float]
) -> list[float]:
    """Of the lexical arm against the model's, a question each."""

    def documents(found: Best) -> dict[int, float]:
        best: dict[int, float] = {}
        for document, score in zip(document_of[found.chunks].tolist(), found.scores.tolist(), strict=True):
            best.setdefault(document, score)
        return best

    return [
        log_odds(documents(lexical), documents(meant), ceiling)
        for lexical, meant, ceiling in zip(sparse, model, ceilings, strict=True)
    ]


def _placed(arm: Sequence[Best], unions: Sequence[Ids]) -> tuple[Floats, Floats]:
    """For each candidate of each question: the arm's score scaled to 0..1, and its rank from 1; 0 where it has none."""
    scaled = [np.zeros(len(union)) for union in unions]
    ranks = [np.zeros(len(union)) for union in unions]
    for answer, union, one, rank in zip(arm, unions, scaled, ranks, strict=True):
        if len(answer.chunks):
            at = np.searchsorted(union, answer.chunks)
            low, high = answer.scores.min(), answer.scores.max()
            one[at] = (answer.scores - low) / (high - low) if high > low else 1.0
            rank[at] = np.arange(1, len(at) + 1)
    return np.concatenate(scaled), np.concatenate(ranks)
