"""Whether a ceiling of money can be kept: every model that the run pays for must have a price."""

from schemas.errors import InvalidInput
from schemas.kinds.evaluation import EvaluationInput, ModelVariant
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
