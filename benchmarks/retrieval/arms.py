"""What is compared: an arm takes documents in, then ranks them for one question after another, against the clock."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from consumers.ranking.bootstrap import mean_interval
from consumers.ranking.metrics import METRICS, Places, Values, documents
from consumers.tuning.judged import Judged, JudgedDocument

DEPTH = 50
"""How many chunks each arm is asked for, or documents if it has no chunks."""


class Arm(Protocol):
    """One way to find documents, inside this process."""

    def index(self, corpus: Sequence[JudgedDocument]) -> None:
        """Index all documents. Timed."""

    def search(self, question: str) -> list[str]:
        """The ids of the documents of the best `DEPTH` chunks, best first; ids may repeat. Timed."""


@dataclass(frozen=True, slots=True)
class Answers:
    """An arm's results: ranked ids for each question, seconds for indexing, milliseconds for each question."""

    rankings: Sequence[Sequence[str]]
    index_s: float
    query_ms: Sequence[float]


def answers(arm: Arm, judged: Judged) -> Answers:
    """Index the corpus and ask every question, one at a time."""
    began = time.perf_counter()
    arm.index(judged.documents)
    index_s = time.perf_counter() - began
    rankings, query_ms = [], []
    for question in judged.questions:
        began = time.perf_counter()
        rankings.append(arm.search(question.text))
        query_ms.append((time.perf_counter() - began) * 1000)
    return Answers(rankings, index_s, query_ms)


def figures(given: Answers, judged: Judged) -> tuple[dict[str, Any], dict[str, Values]]:
    """An arm's figures as JSON, and the value of each metric for each question."""
    places = Places.of(map(documents, given.rankings), (question.relevant for question in judged.questions))
    values = {name: metric(places) for name, metric in METRICS.items()}
    intervals = {name: mean_interval(each) for name, each in values.items()}
    p50, p95 = np.percentile(given.query_ms, [50, 95])
    shown = {
        **{name: round(interval.mean, 4) for name, interval in intervals.items()},
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "docs_per_s": round(len(judged.documents) / given.index_s, 1),
        "ci95": {name: interval.ci95 for name, interval in intervals.items()},
    }
    return shown, values
