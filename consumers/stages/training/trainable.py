"""The base model of a training: which rows of the deployment's models can be trained, and where their weights are."""

from schemas.errors import InvalidInput
from schemas.kinds.search import SearchInput
from schemas.kinds.training import TrainingInput
from schemas.models import Models, TransformersModel, VllmModel

Base = VllmModel | TransformersModel


def base_of(request: TrainingInput | SearchInput, models: Models) -> Base:
    """The model that is trained.

    Raises `InvalidInput`: `model_not_found`, `base_not_trainable`, and `adapter_not_servable` where its engine would
    not take the adapter that is to be registered.
    """
    field = "input.base_model"
    base = models.wanted(request.base_model, "chat", field=field)
    if not isinstance(base, Base):
        others = ", ".join(repr(row.name) for row in models if isinstance(row, Base)) or "none"
        why = f"the weights of the model {base.name!r} are not here: models that can be trained are: {others}"
        raise InvalidInput(why, code="base_not_trainable", field=field)
    if request.register_as is not None:
        most, rank = base.max_lora_rank, request.hyperparameters.rank
        if most is None:
            why = f"the model {base.name!r} takes no adapters (its options lack enable_lora): leave out `register_as`"
            raise InvalidInput(why, code="adapter_not_servable", field="input.register_as")
        if rank > most:
            why = f"the engine of {base.name!r} takes adapters up to rank {most}, not {rank}"
            raise InvalidInput(why, code="adapter_not_servable", field="input.hyperparameters.rank")
    return base
