"""What made an adapter, from what was recorded of its training."""

from datetime import datetime
from uuid import UUID

from consumers.stages.training.trainable import Base
from schemas.ids import shown
from schemas.kinds.training import Chosen, Recipe, TrainingResult
from schemas.lineage import Lineage
from schemas.version import version


def lineage_of(job: UUID, recipe: Recipe, result: TrainingResult, base: Base, trained_at: datetime) -> Lineage:
    """The lineage of what the training `job` made."""
    asked = recipe.hyperparameters.model_dump()
    return Lineage(
        job=shown("job", job),
        base=base.name,
        weights=None if base.in_folder else base.weights,
        revision=base.revision,
        code=version(),
        method=recipe.method,
        adapter=recipe.adapter,
        dataset=result.data.dataset,
        validation=result.data.validation,
        rows=result.data.rows,
        held_out=result.data.validation_rows,
        tokens=result.data.tokens,
        archive=result.adapter,
        parameters={**asked, **result.settings.model_dump(include=set(asked) & set(Chosen.model_fields))},
        metrics={name: value for name, value in result.metrics.model_dump().items() if value is not None},
        trained_at=trained_at.isoformat(timespec="seconds"),
    )
