"""The figures of a benchmark's own tasks, as lm-evaluation-harness defines them, with their standard errors."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.kinds.benchmark import CHOICES, QUESTION, ChoiceTask
from schemas.kinds.benchmark.items import LETTERS, ChoiceItem
from schemas.kinds.benchmark.result import Measured
from schemas.text import Likelihood

_PLACES: Final = re.compile(f"{re.escape(QUESTION)}|{re.escape(CHOICES)}")

LARGEST: Final = 300.0
"""The logarithm of the largest perplexity that is told."""


@dataclass
class Predicted:
    """How well texts were predicted: a log probability for each text, and its tokens, words and bytes.

    Words are what white space parts. The standard error is that of a ratio of sums over texts (Cochran 1977, 2.11),
    carried over to the figure by its derivative.
    """

    logprobs: list[float] = field(default_factory=list)
    sizes: dict[str, list[int]] = field(default_factory=lambda: {"token": [], "word": [], "byte": []})

    def add(self, text: str, told: Likelihood) -> None:
        """Count a text."""
        self.logprobs.append(told.logprob)
        for unit, size in zip(self.sizes, (told.tokens, len(text.split()), len(text.encode())), strict=True):
            self.sizes[unit].append(size)

    def metrics(self) -> dict[str, Measured]:
        """`perplexity` of tokens, `word_perplexity`, `byte_perplexity`, and `bits_per_byte`.

        A perplexity that is too large for a number is left out, as that of words is where no white space parts them.
        """
        found: dict[str, Measured] = {}
        for name, unit in ("perplexity", "token"), ("word_perplexity", "word"), ("byte_perplexity", "byte"):
            if not any(self.sizes[unit]):
                continue
            rate, stderr = _ratio(self.logprobs, self.sizes[unit])
            if -rate < LARGEST:
                value = math.exp(-rate)
                found[name] = Measured(value=value, stderr=None if stderr is None else value * stderr)
        rate, stderr = _ratio(self.logprobs, self.sizes["byte"])
        bits = math.log(2)
        found["bits_per_byte"] = Measured(value=-rate / bits, stderr=None if stderr is None else stderr / bits)
        return found


@dataclass
class Chosen:
    """How often the right choice was the likeliest. `normed`: by log probability per character of the choice."""

    right: list[bool] = field(default_factory=list)
    normed: list[bool] = field(default_factory=list)

    def metrics(self, task: ChoiceTask) -> dict[str, Measured]:
        """`acc`; and `acc_norm`, which says the same where letters are scored."""
        found = {"acc": mean(self.right)}
        return found if task.answer_as == "letter" else found | {"acc_norm": mean(self.normed)}


def asked(task: ChoiceTask, item: ChoiceItem) -> tuple[str, list[str]]:
    """What the model reads, and what it may go on with."""
    lines = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False))
    places = {QUESTION: item.question, CHOICES: lines}
    context = _PLACES.sub(lambda found: places[found.group()], task.prompt)
    ends = LETTERS[: len(item.choices)] if task.answer_as == "letter" else item.choices
    return context, [f" {end}" for end in ends]


def likeliest(told: Sequence[Likelihood], lengths: Sequence[int] | None = None) -> int:
    """The place of the likeliest; given `lengths`, by log probability per unit of length. Of equal ones the first."""
    scores = [one.logprob / (lengths[at] if lengths else 1) for at, one in enumerate(told)]
    return max(range(len(scores)), key=scores.__getitem__)


def mean(values: Sequence[float]) -> Measured:
    """The mean, with the standard error of a sample."""
    count = len(values)
    centre = math.fsum(values) / count
    if count < 2:
        return Measured(value=centre, stderr=None)
    variance = math.fsum((value - centre) ** 2 for value in values) / (count - 1)
    return Measured(value=centre, stderr=math.sqrt(variance / count))


def _ratio(sums: Sequence[float], sizes: Sequence[int]) -> tuple[float, float | None]:
    """The ratio of two sums over texts, and its standard error."""
    count, whole = len(sums), sum(sizes)
    rate = math.fsum(sums) / whole
    if count < 2:
        return rate, None
    squares = math.fsum((one - rate * size) ** 2 for one, size in zip(sums, sizes, strict=True))
    return rate, math.sqrt(count / (count - 1) * squares) / whole
