"""What the answers of an evaluation cost, and whether its ceiling allows more of them."""

from dataclasses import dataclass

from consumers.stages.answers import Answer
from schemas.errors import InvalidInput
from schemas.kinds.evaluation import EvaluationInput, ModelVariant
from schemas.kinds.evaluation.judge import Allowance
from schemas.models import ExtractiveModel, Models


def check_prices(request: EvaluationInput, models: Models) -> None:
    """Raise `InvalidInput` (`price_missing`) for a model without a price, if the run has a ceiling of money."""
    if request.ceiling is None or request.ceiling.cost is None:
        return
    named = [] if request.judge is None else [request.judge.model]
    for way in request.ways:
        if isinstance(way, ModelVariant):
            named.append(way.model)
        elif way.generate is not None:
            named.append(way.generate.model)
    for name in named:
        row = models.find(name.partition(":")[0], "answers")
        if row is not None and row.price is None and not isinstance(row, ExtractiveModel):
            why = f"the model {name!r} has no `price` in the models file: give it one, or a ceiling of tokens"
            raise InvalidInput(why, code="price_missing", field="input.ceiling.cost")


def paid_for(answer: Answer, models: Models) -> tuple[int, float]:
    """The tokens of an answer, and its cost at the price of its model; 0 where that has none."""
    row = None if answer.model is None else models.find(answer.model.partition(":")[0], "answers")
    if row is None or row.price is None:
        return answer.tokens, 0.0
    made = answer.tokens - answer.prompt_tokens
    return answer.tokens, (answer.prompt_tokens * row.price.input + made * row.price.output) / 1e6


@dataclass
class Bill:
    """What answers have cost."""

    tokens: int = 0
    cost: float = 0.0

    def add(self, answer: Answer, models: Models) -> None:
        """Charge an answer."""
        tokens, cost = paid_for(answer, models)
        self.tokens += tokens
        self.cost += cost


def left_of(request: EvaluationInput, tokens: int, cost: float) -> Allowance:
    """What is left of the ceiling after these; nothing is less than nothing."""
    ceiling = request.ceiling
    if ceiling is None:
        return Allowance()
    return Allowance(
        tokens=None if ceiling.tokens is None else max(0, ceiling.tokens - tokens),
        cost=None if ceiling.cost is None else max(0.0, ceiling.cost - cost),
    )
