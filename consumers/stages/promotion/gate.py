"""The first stage of `promotion`: an evaluation asks champion and candidate the same questions."""

from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from schemas.errors import Conflict
from schemas.kinds.promotion import Gated, PromotionInput
from schemas.outcomes import Child, FanOut, Outcome

NEEDS: Final = needs(Ports.aliases)


async def run(job: StageJob[PromotionInput, None], ports: Ports) -> Outcome:
    """Compare the candidate with what the alias points to now; where it points to nothing, measure it alone.

    Raises `ModelNotFound`, `AdapterNotFound`, `InvalidInput` (`alias_taken`, `tasks_differ`) and `Conflict`
    (`already_champion`).
    """
    asked = job.input
    candidate = await ports.aliases.candidate(job.tenant, asked.alias, asked.model, field="input.model")
    champion = await ports.aliases.champion(job.tenant, asked.alias)
    if candidate == champion:
        why = f"{asked.alias!r} points to {candidate!r} already"
        raise Conflict(why, code="already_champion", field="input.model")
    evaluation = Child("evaluation", asked.evaluation(champion, candidate), key="gate")
    return FanOut([evaluation], then="promote", carry=Gated(champion=champion, candidate=candidate), lane=job.lane)
