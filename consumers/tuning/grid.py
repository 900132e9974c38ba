"""Which settings are tried, and the value of each for every question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.lexical import Postings
from consumers.ranking.metrics import METRICS
from consumers.tuning.encoding import Encoded
from consumers.tuning.fusing import Best, Joined, best
from infra.vectors.weighing import ceiling, telling
from schemas.collections import CollectionSettings, FusionSettings, FusionWeights, SparseSettings
from schemas.retrieval import SparseVector

if TYPE_CHECKING:
    from infra.text.sparse import KiwiSparseEncoder

K1: Final = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.6, 2.0)
B: Final = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)
STEPS: Final = {2: 10, 3: 5}
"""Into how many steps the weight of one is shared out, by the number of arms."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The settings that vary, and `values[metric][candidate, question]`. The first candidate is the base."""

    candidates: Sequence[CollectionSettings]
    values: Mapping[str, NDArray[np.float64]]


def candidates(base: CollectionSettings, arms: Sequence[str]) -> list[CollectionSettings]:
    """The base, then every k1, b and fusion of the grid, the nearest to the base first."""
    sparse = [
        base.sparse.model_copy(update={"k1": k1, "b": b})
        for k1, b in sorted(
            product(K1, B), key=lambda pair: abs(pair[0] - base.sparse.k1) + abs(pair[1] - base.sparse.b)
        )
    ]
    tried = [
        base.model_copy(update={"sparse": lexical, "fusion": fusion})
        for lexical, fusion in product(sparse, _fusions(base.fusion, arms))
    ]
    return [base, *(settings for settings in tried if settings != base)]


def run(
    encoded: Encoded,
    encoder: "KiwiSparseEncoder",
    tried: Sequence[CollectionSettings],
    relevant: Sequence[frozenset[int]],
    advance: Callable[[], None],
) -> Trial:
    """Rank every question's documents under every candidate. `advance` is called after each k1 and b.

    Texts are encoded before; what k1 and b change is only weights, and what fusion changes only the joining.
    """
    questions = len(relevant)
    values = {name: np.zeros((len(tried), questions)) for name in METRICS}
    groups: dict[SparseSettings, list[int]] = {}
    for number, settings in enumerate(tried):
        groups.setdefault(settings.sparse, []).append(number)
    depth = max(settings.fusion.depth for settings in tried)
    others = _dense_arms(encoded, depth)
    postings: Postings | None = None
    for sparse, numbers in groups.items():
        vectors = [encoder.weigh(pieces, sparse) for pieces in encoded.pieces]
        if postings is None:
            postings = Postings(vectors)
        else:
            postings.reweigh(vectors)
        lexical = [best(postings.scores(query), depth) for query in encoded.queries]
        ceilings = [_ceiling(postings, query) for query in encoded.queries] if others else [0.0] * questions
        joined = Joined({"sparse": lexical, **others}, encoded.document_of, relevant, ceilings)
        for number in numbers:
            places = joined.places(tried[number].fusion)
            for name, metric in METRICS.items():
                values[name][number] = metric(places)
        advance()
    return Trial(tried, values)


def _ceiling(postings: Postings, query: SparseVector) -> float:
    most = postings.highest(query)
    return ceiling(query.values, [most[at] for at in telling(query.values)])


def _fusions(base: FusionSettings, arms: Sequence[str]) -> list[FusionSettings]:
    if len(arms) == 1:
        return [base]
    steps = STEPS[len(arms)]
    shares = [share for share in product(range(steps + 1), repeat=len(arms)) if sum(share) == steps]
    weights = [
        FusionWeights(**{"sparse": 0.0, "dense": 0.0, "learned": 0.0, **_shared(arms, share, steps)})
        for share in shares
    ]
    given = {arm: getattr(base.weights, arm) for arm in arms}
    total = sum(given.values()) or 1.0
    weights.sort(key=lambda each: sum(abs(getattr(each, arm) - given[arm] / total) for arm in arms))
    methods = sorted(("auto", "minmax", "rrf"), key=lambda method: method != base.method)
    return [base.model_copy(update={"method": method, "weights": each}) for method, each in product(methods, weights)]


def _shared(arms: Sequence[str], share: Sequence[int], steps: int) -> dict[str, float]:
    return {arm: part / steps for arm, part in zip(arms, share, strict=True)}


def _dense_arms(encoded: Encoded, depth: int) -> dict[str, list[Best]]:
    """The arms that no setting changes, each question's best once."""
    arms: dict[str, list[Best]] = {}
    if encoded.dense is not None:
        chunks, queries = encoded.dense
        arms["dense"] = [best(np.asarray(chunks @ query, dtype=np.float64), depth, found=False) for query in queries]
    if encoded.learned is not None:
        learned, asked = encoded.learned
        postings = Postings(learned, idf=False)
        arms["learned"] = [best(postings.scores(query), depth) for query in asked]
    return arms
