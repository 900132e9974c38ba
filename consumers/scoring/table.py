"""The scores of one variant, as columns of numbers: what statistics need of a hundred thousand answers, and no text."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heappush, heappushpop
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from schemas.kinds.evaluation.judge import CEILING

WORST: Final = 20
"""Answers that are listed, the worst first."""

_NOT_APPLICABLE: Final = -1.0
"""Scores are in 0..1, so this is none; NaN is a score that is missing."""

OTHER: Final = ""
"""The group of items that lack the field of a breakdown."""


class ScoreTable:
    """The scores of a variant, in the order in which its answers were added.

    `primary`: the metric by which answers are worst; the first of the first answer if null. `group_by`: the metadata
    field by which items are grouped.
    """

    def __init__(self, variant: str, *, primary: str | None = None, group_by: str | None = None) -> None:
        self.variant = variant
        self.primary = primary
        self.group_by = group_by
        self.ids: list[str] = []
        self.latencies = array("d")
        self.succeeded = 0
        self.not_asked = 0
        self.tokens = 0
        self.by: dict[str, str] = {}
        """The models that gave scores, by metric."""
        self.errors: Counter[str] = Counter()
        """How many answers failed, by the code of the reason."""
        self.messages: dict[str, str] = {}
        """What was said with each code first."""
        self._questions = array("L")
        self._documents: list[str] = []
        self._groups: list[str] = []
        self._columns: dict[str, array[float]] = {}
        self._worst: list[tuple[tuple[float, float, int], dict[str, Any]]] = []

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one line of an items file."""
        scores: Mapping[str, float | None] = line["scores"]
        size = len(self.ids)
        for name in scores:
            if name not in self._columns:
                self._columns[name] = array("d", [_NOT_APPLICABLE]) * size
        for name, column in self._columns.items():
            value = scores.get(name, _NOT_APPLICABLE)
            column.append(math.nan if value is None else value)
        self.ids.append(line["item"])
        self._questions.append(crc32(line["question"].encode()))
        self._documents.append(line["document"] or "")
        self._groups.append(OTHER if self.group_by is None else _shown(line["metadata"].get(self.group_by)))
        self.succeeded += line["state"] == "succeeded"
        asked = line["error"] is None or line["error"]["code"] != CEILING
        self.not_asked += not asked
        self.tokens += line["tokens"]
        self.by.update(line.get("by", {}))
        if line["latency_ms"] is not None:
            self.latencies.append(line["latency_ms"])
        if asked:
            self._remember(line, scores)
            if line["error"] is not None:
                self.errors[line["error"]["code"]] += 1
                self.messages.setdefault(line["error"]["code"], line["error"]["message"])

    @property
    def metrics(self) -> list[str]:
        """The metrics that any answer has, in the order of their first appearance."""
        return list(self._columns)

    def values(self, metrics: Sequence[str]) -> NDArray[np.float64]:
        """`values[answer, metric]`: NaN where a score is missing or the metric does not apply."""
        table = self._table(metrics)
        table[table == _NOT_APPLICABLE] = np.nan
        return table

    def missing(self, metrics: Sequence[str]) -> NDArray[np.bool_]:
        """`missing[answer, metric]`: whether the metric applies and its score could not be had."""
        return np.isnan(self._table(metrics))

    def clusters(self) -> list[str] | None:
        """The document of each question, one without a document being its own; None when none has one."""
        if not any(self._documents):
            return None
        pairs = zip(self._documents, self.ids, strict=True)
        return [f"d{document}" if document else f"q{item}" for document, item in pairs]

    def groups(self) -> NDArray[np.object_]:
        """The value of the metadata field of each item."""
        return np.array(self._groups, dtype=object)

    def places(self) -> dict[tuple[str, int], int]:
        """Where each item stands, by its id and a checksum of its question: what pairs the answers of two runs."""
        return {pair: at for at, pair in enumerate(zip(self.ids, self._questions, strict=True))}

    def worst(self) -> list[dict[str, Any]]:
        """The answers with the lowest scores, failed ones first; the rest of each line is as it was added."""
        ordered = sorted(self._worst, key=lambda one: [-part for part in one[0]])
        return [line for _, line in ordered]

    def _table(self, metrics: Sequence[str]) -> NDArray[np.float64]:
        table = np.full((len(self.ids), len(metrics)), _NOT_APPLICABLE)
        for at, name in enumerate(metrics):
            if name in self._columns:
                table[:, at] = self._columns[name]
        return table

    def _remember(self, line: Mapping[str, Any], scores: Mapping[str, float | None]) -> None:
        if self.primary is None:
            self.primary = next((name for name in scores if name != "succeeded"), None)
        if self.primary is None or self.primary not in scores:
            return
        known = [value for value in scores.values() if value is not None]
        value = scores[self.primary]
        # A heap's first is the best of the worst; of equal ones the earlier item is kept.
        key = (1.0 if value is None else -value, -sum(known) / max(1, len(known)), -len(self.ids))
        if len(self._worst) < WORST:
            heappush(self._worst, (key, dict(line)))
        elif key > self._worst[0][0]:
            heappushpop(self._worst, (key, dict(line)))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return OTHER if value is None else str(value)
