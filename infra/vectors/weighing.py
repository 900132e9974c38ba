"""How much the lexical arm counts against a model's arm for one question: the weights of fusion `auto`.

The log-odds of the lexical arm are a sum of signals that are known before anyone has judged a hit:

    log-odds = ln(weight of sparse / weight of the others) + a + c · coverage + s · lead(sparse) - d · lead(model)
               - g · agreement

- **coverage**, 0..1: the best lexical score as a share of `ceiling`, the score of a chunk that would serve each term
  of the question as well as any chunk does. If the collection has the question's words in one place, coverage is
  close to 1; for a paraphrase it is about a third.
- **lead**, 0..1: how far an arm's best document stands above its first `DEPTH` documents, in standard deviations,
  divided by the most that so many can show, sqrt(n - 1). The scores of an arm that knows nothing fall off like the
  tail of one distribution and lead by .43, whatever the arm measures; a real find stands apart. The spread of an
  arm's best scores predicts its quality (Shtok, Kurland and Carmel 2009, "Predicting Query Performance by
  Query-Drift Estimation").
- **agreement**, 0..1: the share of the first `AGREED` documents that both arms found. A model that does not know the
  language agrees with the words only by chance; one that does is right more often than the words are.

`CONSTANTS` were found by random search: the least loss against the better arm and against the best fixed weight.
docs/decisions/0033 says which questions were used, how they were degraded, and what the held-out ones gave.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

Document = TypeVar("Document")

DEPTH: Final = 50
"""How many documents of each arm are compared; looking at more would make the same lead look larger."""

AGREED: Final = 10

TERMS: Final = 32
"""How many of a question's terms, heaviest first, measure its ceiling; the rest are assumed to be like them."""


@dataclass(frozen=True, slots=True)
class Constants:
    """The coefficients of the formula above."""

    base: float
    coverage: float
    sparse_lead: float
    model_lead: float
    agreement: float


CONSTANTS: Final = Constants(base=2.6, coverage=4.0, sparse_lead=3.7, model_lead=7.6, agreement=7.0)


def log_odds(sparse: Mapping[Document, float], model: Mapping[Document, float], ceiling: float) -> float:
    """The lexical arm's log-odds against the model's, at equal weights. Both map documents to scores, best first."""
    if not sparse or not model:
        return 0.0
    size = min(DEPTH, max(len(sparse), len(model)))
    # A document that the lexical arm did not find scores 0 there. One that the model did not find scores at most as
    # much as its last hit.
    lexical = [*islice(sparse.values(), size), *[0.0] * (size - len(sparse))]
    meant = [*islice(model.values(), size)]
    meant += [meant[-1]] * (size - len(meant))
    both = set(islice(sparse, AGREED)) & set(islice(model, AGREED))
    c = CONSTANTS
    return (
        c.base
        + c.coverage * (min(1.0, lexical[0] / ceiling) if ceiling > 0 else 0.0)
        + c.sparse_lead * _lead(lexical)
        - c.model_lead * _lead(meant)
        - c.agreement * len(both) / min(AGREED, size)
    )


def share(log_odds: float, weight: float) -> float:
    """The lexical arm's share, 0 to 1, when its share among all arms would otherwise be `weight`, 0 to 1."""
    if weight in (0, 1):
        return weight
    return 1 / (1 + math.exp(-log_odds) * (1 - weight) / weight)


def telling(weights: Sequence[float]) -> list[int]:
    """The positions, ascending, of a question's heaviest terms: those whose best scores make up the ceiling."""
    return sorted(sorted(range(len(weights)), key=lambda at: -weights[at])[:TERMS])


def ceiling(weights: Sequence[float], best: Sequence[float]) -> float:
    """The score of a chunk that would serve each of the question's terms as well as any chunk does.

    `weights` are the question's term weights. `best` has the highest score that each `telling` term gives any chunk on
    its own, or 0 if no chunk holds it. Such a term would be the rarest, so it counts like the rarest known one.
    """
    asked = [weights[at] for at in telling(weights)]
    rarest = max((score / weight for score, weight in zip(best, asked, strict=True)), default=0.0)
    measured = sum(score or weight * rarest for score, weight in zip(best, asked, strict=True))
    return measured * sum(weights) / sum(asked) if measured else 0.0


def _lead(scores: Sequence[float]) -> float:
    if math.isclose(scores[0], scores[-1]):  # what rounding made of equal scores is no lead
        return 0.0
    mean = sum(scores) / len(scores)
    variance = sum((score - mean) ** 2 for score in scores) / len(scores)
    return (scores[0] - mean) / math.sqrt(variance * (len(scores) - 1))
