"""How much the lexical arm counts against a model's in one question: the weights of fusion `auto`.

The log-odds of the lexical arm are a sum of what can be seen before anyone has judged a hit:

    log-odds = ln(weight of sparse / weight of the others) + a + c · coverage + s · lead(sparse) - d · lead(model)
               - g · agreement

- **coverage**, 0..1: the best lexical score as a share of `ceiling`, what the question would score in a chunk that
  serves each of its terms as well as any chunk does. A question whose words the collection has in one place covers
  most of it; a paraphrase, a third.
- **lead**, 0..1: how far an arm's best document stands above its first `DEPTH`, in standard deviations, as a share of
  the most that so many can show, sqrt(n - 1). Scores of an arm that knows nothing fall off like the tail of one
  distribution and lead by .43 of it, whatever the arm measures; what was found stands apart. The spread of an arm's
  best scores foretells its quality (Shtok, Kurland and Carmel 2009, "Predicting Query Performance by Query-Drift
  Estimation").
- **agreement**, 0..1: the share of the first `AGREED` documents that both arms have. A model that does not know the
  language agrees with the words by chance alone; one that does is right more often than the words are.

`CONSTANTS` were chosen by random search for the least loss against the better arm and against the best fixed weight.
docs/decisions/0033 says on which questions, how they were spoilt, and what the held-out ones gave.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

Document = TypeVar("Document")

DEPTH: Final = 50
"""Documents of each arm that are looked at: more of them would make the same lead look larger."""

AGREED: Final = 10

TERMS: Final = 32
"""Terms of a question that its ceiling is measured by, the heaviest first; the rest are taken to be like them."""


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
    """Of the lexical arm against the model's, for equal weights. Both map documents to scores, the best first."""
    if not sparse or not model:
        return 0.0
    size = min(DEPTH, max(len(sparse), len(model)))
    # What the lexical arm did not find scores 0 there; what the model did not, no more than its last.
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
    """What the lexical arm gets of 1, when its weight among all arms, 0 to 1, would be `weight`."""
    if weight in (0, 1):
        return weight
    return 1 / (1 + math.exp(-log_odds) * (1 - weight) / weight)


def telling(weights: Sequence[float]) -> list[int]:
    """The positions of a question's heaviest terms, in order: those whose best scores make the ceiling."""
    return sorted(sorted(range(len(weights)), key=lambda at: -weights[at])[:TERMS])


def ceiling(weights: Sequence[float], best: Sequence[float]) -> float:
    """What a chunk would score that serves each term of the question as well as any does.

    `weights` are the question's, `best` the highest score that each of the `telling` terms alone gives to a chunk, 0
    for one that no chunk holds: it would be the rarest, and counts as much as the most telling one that is known.
    """
    asked = [weights[at] for at in telling(weights)]
    rarest = max((score / weight for score, weight in zip(best, asked, strict=True)), default=0.0)
    measured = sum(score or weight * rarest for score, weight in zip(best, asked, strict=True))
    return measured * sum(weights) / sum(asked) if measured else 0.0


def _lead(scores: Sequence[float]) -> float:
    if scores[0] == scores[-1]:
        return 0.0
    mean = sum(scores) / len(scores)
    variance = sum((score - mean) ** 2 for score in scores) / len(scores)
    return (scores[0] - mean) / math.sqrt(variance * (len(scores) - 1))
