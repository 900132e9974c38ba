"""Evaluations as evidence: whether one lets a model take another's place, and which one has figures of two models."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import BaseModel, ValidationError

from gateway.services import Services
from infra.postgres.queries import aliases, files
from schemas.errors import Conflict, NotFound
from schemas.ids import parsed, shown
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.result import Compared, EvaluationResult
from schemas.promotions import FRESH_FOR, Evidence, GateNotPassed, alone, compared, models_of, proof

LOOKED_AT: Final = 100
"""Evaluations among which one is looked for that has figures of two models."""


class DiffedMetric(BaseModel):
    """A metric of both models. `gain`: of the second over the first, on the same items; null if they were not paired.

    Failed answers count as 0 in `first` and `second`.
    """

    first: float | None
    second: float | None
    gain: float | None = None
    ci95: list[float] | None = None
    significant: bool | None = None


class Diff(BaseModel):
    """Two models in the newest evaluation that asked both."""

    first: str
    second: str
    evaluation: str
    items: int
    metrics: dict[str, DiffedMetric]


async def evidence(
    services: Services, tenant: str, job: str, *, champion: str | None, candidate: str, forced: bool
) -> Evidence:
    """What an evaluation says of a candidate beside the champion; `forced`: whatever it says.

    Raises `NotFound` (`job_not_found`), `Conflict` (`not_an_evaluation`, `evaluation_old`) and `GateNotPassed`.
    """
    async with services.database.connection() as connection:
        row = await aliases.evaluation(connection, parsed("job", job), tenant, fresh_for=FRESH_FOR)
    if row is None:
        raise NotFound(f"there is no job {job}", code="job_not_found", field="evaluation")
    if row["kind"] != "evaluation" or row["state"] != "succeeded":
        why = f"{job} is a job of kind {row['kind']!r} that is {row['state']}: name an evaluation that succeeded"
        raise Conflict(why, code="not_an_evaluation", field="evaluation")
    if not row["fresh"]:
        why = f"{job} ended more than {FRESH_FOR.days} days ago: evaluate again"
        raise Conflict(why, code="evaluation_old", field="evaluation")
    asked, found = await _read(services, tenant, row)
    named = services.aliases.named
    if champion is None:
        variants = [variant for variant, model in models_of(asked).items() if named(model) == candidate]
        if not variants:
            raise GateNotPassed(f"{job} has no variant that runs on {candidate!r}", field="evaluation")
        return alone(job, asked, found, variants[0])
    judge = compared if forced else proof
    return judge(job, asked, found, champion=champion, candidate=candidate, named=named)


async def diff(services: Services, tenant: str, first: str, second: str) -> Diff:
    """The figures of two models, by their full names. Raises `NotFound` (`never_compared`)."""
    async with services.reads.connection(tenant) as connection:
        rows = await aliases.evaluations(connection, tenant, LOOKED_AT)
    for row in rows:
        try:
            asked = EvaluationInput.model_validate_json(row["input"])
        except ValidationError:  # of another version
            continue
        variants = {services.aliases.named(model): name for name, model in reversed(models_of(asked).items())}
        if first in variants and second in variants:
            _, found = await _read(services, tenant, row)
            return Diff(
                first=first,
                second=second,
                evaluation=shown("job", row["id"]),
                items=found.items.total,
                metrics=_metrics(found, variants[first], variants[second]),
            )
    why = f"none of the last {LOOKED_AT} evaluations asked both {first!r} and {second!r}: evaluate them as two variants"
    raise NotFound(why, code="never_compared", field="with")


async def _read(services: Services, tenant: str, row: Any) -> tuple[EvaluationInput, EvaluationResult]:
    told = orjson.loads(row["result"])
    if set(told) == {"file"}:
        async with services.database.connection() as connection:
            file = await files.file(connection, parsed("file", told["file"]), tenant)
        if file is None:
            raise NotFound(f"the result of {shown('job', row['id'])} was removed", code="file_not_found")
        told = orjson.loads(b"".join([piece async for piece in services.blobs.stream(file["blob"])]))
    return EvaluationInput.model_validate_json(row["input"]), EvaluationResult.model_validate(told)


def _metrics(found: EvaluationResult, first: str, second: str) -> dict[str, DiffedMetric]:
    figures = {variant.name: variant.metrics for variant in found.variants}
    ours, theirs = figures.get(second, {}), figures.get(first, {})
    gains, sign = _gains(found, first, second)
    told = {}
    for name in dict.fromkeys((*theirs, *ours)):
        gain = gains.get(name)
        told[name] = DiffedMetric(
            first=theirs[name].strict if name in theirs else None,
            second=ours[name].strict if name in ours else None,
            gain=None if gain is None else sign * gain.gain,
            ci95=None if gain is None else sorted(sign * end for end in gain.ci95),
            significant=None if gain is None else gain.significant,
        )
    return told


def _gains(found: EvaluationResult, first: str, second: str) -> tuple[Mapping[str, Compared], int]:
    """The gains between two variants, and 1 if they are those of the second, else -1."""
    for one in found.comparisons:
        if (one.baseline, one.variant) == (first, second):
            return one.metrics, 1
        if (one.baseline, one.variant) == (second, first):
            return one.metrics, -1
    return {}, 1
