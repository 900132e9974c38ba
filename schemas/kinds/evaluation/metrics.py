"""The metrics of evaluations by name, and what each needs of the dataset and of the answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator


class Needs(StrEnum):
    """What an item must have for a metric to apply."""

    REFERENCE = "a reference answer"
    RELEVANT = "relevant documents"
    ANSWERABLE = "an answer in the collection"
    UNANSWERABLE = "no answer in the collection"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Metric:
    """`needs`: the items it applies to. `generates`, `retrieves`: what the variant must do. `morphemes`: it reads them.

    `ragas`: the class in `ragas.metrics.collections` that asks the judge. `embeds`: it needs an embedder. All are in
    0..1, and more is better.
    """

    needs: Needs
    generates: bool = False
    retrieves: bool = False
    morphemes: bool = False
    ragas: str | None = None
    embeds: bool = False

    @property
    def by_model(self) -> bool:
        """Whether a model gives the score, after all others."""
        return self.ragas is not None or self.embeds


_ANSWER: Final = Metric(Needs.REFERENCE, generates=True)
_BY_MORPHEMES: Final = Metric(Needs.REFERENCE, generates=True, morphemes=True)
_RANKING: Final = Metric(Needs.RELEVANT, retrieves=True)

_JUDGED: Final[Mapping[str, Metric]] = {
    "answer_relevancy": Metric(Needs.ANSWERABLE, generates=True, ragas="AnswerRelevancy", embeds=True),
    "faithfulness": Metric(Needs.ANSWERABLE, generates=True, retrieves=True, ragas="Faithfulness"),
    "context_precision": Metric(Needs.REFERENCE, retrieves=True, ragas="ContextPrecision"),
    "context_recall": Metric(Needs.REFERENCE, retrieves=True, ragas="ContextRecall"),
    "context_entity_recall": Metric(Needs.REFERENCE, retrieves=True, ragas="ContextEntityRecall"),
    "context_relevance": Metric(Needs.ANSWERABLE, retrieves=True, ragas="ContextRelevance"),
    "context_utilization": Metric(Needs.ANSWERABLE, generates=True, retrieves=True, ragas="ContextUtilization"),
    "answer_accuracy": Metric(Needs.REFERENCE, generates=True, ragas="AnswerAccuracy"),
    "answer_correctness": Metric(Needs.REFERENCE, generates=True, ragas="AnswerCorrectness", embeds=True),
    "factual_correctness": Metric(Needs.REFERENCE, generates=True, ragas="FactualCorrectness"),
    "response_groundedness": Metric(Needs.ANSWERABLE, generates=True, retrieves=True, ragas="ResponseGroundedness"),
}
"""RAGAS' metrics whose score is better when it is higher. Those that need more than an answer and passages are none."""

NAMED: Final[Mapping[str, Metric]] = {
    "f1": _BY_MORPHEMES,
    "exact_match": _ANSWER,
    "contains": _ANSWER,
    "f1_char": _ANSWER,
    "rouge_l": _BY_MORPHEMES,
    "bleu": _BY_MORPHEMES,
    "chrf": _ANSWER,
    "mrr": _RANKING,
    "answered": Metric(Needs.ANSWERABLE, generates=True, retrieves=True),
    "not_found": Metric(Needs.UNANSWERABLE, generates=True, retrieves=True),
    "succeeded": Metric(Needs.NOTHING),
    "similarity": Metric(Needs.REFERENCE, generates=True, embeds=True),
    **_JUDGED,
}
"""Metrics without a parameter."""

DEFAULT: Final = (
    *("f1", "exact_match", "contains", "f1_char", "rouge_l", "bleu", "chrf"),
    *("recall@1", "recall@5", "precision@5", "hit@5", "ndcg@5", "mrr"),
    *("answered", "not_found", "succeeded"),
)
"""What is computed when the input names no metrics, as far as dataset and variants allow it."""

DEFAULT_JUDGED: Final = ("answer_relevancy", "faithfulness", "context_precision", "context_recall")
"""What the judge is asked for then, if there is one and no grader names it."""

_AT_K: Final = re.compile(r"(recall|precision|hit|ndcg)@([1-9]\d?|100)")


def metric(name: str) -> Metric:
    """The metric of this name. Raises `ValueError`, listing the names there are."""
    if name in NAMED:
        return NAMED[name]
    if _AT_K.fullmatch(name):
        return _RANKING
    families = "recall@k, precision@k, hit@k, ndcg@k with k from 1 to 100"
    raise ValueError(f"there is no metric {name!r}; there are {', '.join(NAMED)}, and {families}")


def at_k(name: str) -> tuple[str, int] | None:
    """`("recall", 5)` for `recall@5`; None for a metric without a parameter."""
    found = _AT_K.fullmatch(name)
    return None if found is None else (found[1], int(found[2]))


def _known(name: str) -> str:
    metric(name)
    return name


MetricName = Annotated[str, AfterValidator(_known)]
"""The name of a metric that exists."""
