"""Fuses the hits of one query's arms into one ranking: scales, weighs, mixes in document scores, caps per document."""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from typing import Final

from infra.vectors.weighing import log_odds, share
from schemas.collections import FusionSettings

SPARSE: Final = "sparse"
DENSE: Final = "dense"
LEARNED: Final = "learned"

Scores = Mapping[str, float]
"""Score by chunk id; higher is better."""


def arms_that_count(present: Collection[str], settings: FusionSettings) -> dict[str, float]:
    """The normalised weight of each arm that takes part. An arm of weight 0 is left out, unless all weights are 0."""
    weights = {arm: float(getattr(settings.weights, arm)) for arm in present}
    whole = sum(weights.values())
    if not whole:
        return {arm: 1 / len(weights) for arm in weights}
    return {arm: weight / whole for arm, weight in weights.items() if weight}


def weighed_by_question(arms: Collection[str], settings: FusionSettings) -> bool:
    """Whether the arms' hits decide the weights: the method is `auto`, with a lexical arm beside a model's."""
    return settings.method == "auto" and SPARSE in arms and len(arms) > 1


def compared(arms: Collection[str]) -> str:
    """The model's arm that the lexical arm is compared with."""
    return DENSE if DENSE in arms else LEARNED


def question_weights(
    arms: Mapping[str, Scores], settings: FusionSettings, documents: Mapping[str, Hashable], ceiling: float
) -> dict[str, float]:
    """The weight of each arm that takes part; they sum to 1. With `auto` the question decides the lexical arm's.

    `documents` maps each chunk to its document; `ceiling` is explained in `weighing`. The model's arms share the rest
    in the proportion of their settings.
    """
    weights = arms_that_count(arms, settings)
    if not weighed_by_question(weights, settings):
        return weights
    sparse, model = (_best_of(arms[arm], documents) for arm in (SPARSE, compared(weights)))
    return reweighed(weights, log_odds(sparse, model, ceiling))


def reweighed(weights: Mapping[str, float], odds: float) -> dict[str, float]:
    """The weights, summing to 1, after a shift of the lexical arm's by log-odds; the others keep their proportion."""
    sparse = share(odds, weights[SPARSE])
    rest = (1 - sparse) / (1 - weights[SPARSE])
    return {arm: sparse if arm == SPARSE else weight * rest for arm, weight in weights.items()}


def fuse(arms: Mapping[str, Scores], weights: Mapping[str, float], settings: FusionSettings) -> dict[str, float]:
    """One score, >= 0, for each chunk that any arm found. An arm adds nothing to a chunk that it did not find.

    `weights` names the arms that take part. A lone sparse arm, lexical or learned, keeps its raw scores. Otherwise
    `minmax` and `auto` scale each arm to 0..1 by its lowest and highest score (all 1 when these are equal), because raw
    BM25 has no upper bound and would outweigh the cosine (Lee 1997, "Analyses of Multiple Evidence Combination"). `rrf`
    uses ranks instead of scores (Cormack, Clarke and Buettcher 2009).
    """
    if len(weights) == 1 and DENSE not in weights:
        return dict(arms[next(iter(weights))])
    fused: dict[str, float] = {}
    for arm, weight in weights.items():
        scores = arms[arm]
        part = _reciprocal_ranks(scores, settings.rrf_k) if settings.method == "rrf" else _scaled(scores)
        for chunk, score in part.items():
            fused[chunk] = fused.get(chunk, 0.0) + weight * score
    return fused


def ranked(scores: Scores, settings: FusionSettings, places: Mapping[str, tuple[str, int]]) -> list[tuple[str, float]]:
    """Chunks with their final scores, best first. `places` maps a chunk to its document and start, which break ties.

    A chunk keeps `1 - document_share` of its score and takes the rest from the best chunk of its document. At most
    `per_document` chunks of a document are returned.
    """
    best: dict[str, float] = {}
    for chunk, score in scores.items():
        document = places[chunk][0]
        best[document] = max(score, best.get(document, score))
    share = settings.document_share
    mixed = {chunk: (1 - share) * score + share * best[places[chunk][0]] for chunk, score in scores.items()}
    ordered = sorted(mixed.items(), key=lambda item: (-item[1], places[item[0]], item[0]))
    if settings.per_document is None:
        return ordered
    given: Counter[str] = Counter()
    kept = []
    for chunk, score in ordered:
        given[places[chunk][0]] += 1
        if given[places[chunk][0]] <= settings.per_document:
            kept.append((chunk, score))
    return kept


def _best_of(scores: Scores, documents: Mapping[str, Hashable]) -> dict[Hashable, float]:
    """The best score of each document, best document first."""
    best: dict[Hashable, float] = {}
    for chunk, score in sorted(scores.items(), key=lambda item: (-item[1], item[0])):
        best.setdefault(documents[chunk], score)
    return best


def _scaled(scores: Scores) -> Scores:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    return {chunk: (score - low) / (high - low) if high > low else 1.0 for chunk, score in scores.items()}


def _reciprocal_ranks(scores: Scores, k: int) -> Scores:
    ordered = sorted(scores, key=lambda chunk: (-scores[chunk], chunk))
    return {chunk: 1 / (rank + k) for rank, chunk in enumerate(ordered, start=1)}
