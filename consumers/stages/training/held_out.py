"""Held-out examples as the questions of the gate: what the model was not trained on decides whether it takes over."""

import json
from collections.abc import Iterable
from typing import Final

from schemas.kinds.evaluation.items import MAX_REFERENCE_CHARS
from schemas.kinds.inference import MAX_QUESTION_CHARS
from schemas.kinds.training.examples import Example

MOST: Final = 1_000
"""Questions, the first ones: two models answer each, and more would hardly narrow the interval."""
MOST_REFERENCES: Final = 8


class HeldOutQuestions:
    """Collects single questions with their right answers. What follows a conversation or a system's turn is no question
    that both models could be asked alike, and is left out.
    """

    def __init__(self) -> None:
        self._answers: dict[str, list[str]] = {}

    def add(self, examples: Iterable[Example]) -> None:
        """Take in held-out examples."""
        for example in examples:
            right = example.chosen if example.completion is None else example.completion
            if right is None or example.label is False or len(example.prompt) != 1 or len(right) != 1:
                continue
            question, answer = example.prompt[0].content.strip(), right[0].content.strip()
            if example.prompt[0].role != "user" or not (0 < len(question) <= MAX_QUESTION_CHARS):
                continue
            if not 0 < len(answer) <= MAX_REFERENCE_CHARS:
                continue
            if len(self._answers) < MOST or question in self._answers:
                answers = self._answers.setdefault(question, [])
                if answer not in answers and len(answers) < MOST_REFERENCES:
                    answers.append(answer)

    def __len__(self) -> int:
        return len(self._answers)

    def lines(self) -> bytes:
        """The questions as a dataset of an evaluation, JSON Lines."""
        told = ({"question": question, "reference": answers} for question, answers in self._answers.items())
        return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in told).encode()
