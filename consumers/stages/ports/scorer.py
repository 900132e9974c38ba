"""Scores answers by the metrics and graders of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from consumers.scoring.given import Given
from schemas.kinds.evaluation.graders import Grader
from schemas.kinds.evaluation.items import Item
from schemas.morphemes import Morpheme
from schemas.requester import Requester

Scored: TypeAlias = dict[str, float | None]
"""A value in 0..1 for each metric that applies, and for each grader; None where there is none."""


@dataclass(frozen=True, slots=True)
class ToScore:
    """An answer and its item. `names`: of the metrics. `contexts`: the texts that it was made from."""

    names: Sequence[str]
    item: Item
    given: Given
    contexts: Sequence[str]


class Scorer(Protocol):
    """Scores answers in a process with limits that is killed on cancel: owners choose texts and graders."""

    async def score(
        self,
        answers: Sequence[ToScore],
        graders: Sequence[Grader],
        morphemes: Mapping[str, Sequence[Morpheme]],
        *,
        by: Requester,
    ) -> list[Scored]:
        """The scores of each answer; all None for one that takes more than a process may.

        `morphemes`: of the texts that metrics compare by them; a text that could not be analysed is missing.
        """
