"""Turns a checked request into a job's row and its message, grouped with others of the same moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
import uuid_utils.compat as uuids

from gateway.jobs.fingerprint import agree, fingerprint
from gateway.jobs.overflow import Overflow
from gateway.jobs.prompts import settle_prompt
from gateway.jobs.views import fresh_view, job_view
from gateway.webhooks.receivers import Receivers
from infra.grouping import Grouper
from infra.metrics import ALIASED, SUBMITTED
from infra.postgres.adapters import resolved
from infra.postgres.aliases import PostgresAliases
from infra.postgres.database import Database
from infra.postgres.queries import reading, submit
from infra.postgres.queries.submit import Made, NewJob
from infra.telemetry import current_traceparent
from producers.agents import Wake
from schemas.adapters import named_adapter
from schemas.errors import Conflict, DependencyUnavailable, InvalidInput
from schemas.jobs import Submission
from schemas.kinds.calibration import CalibrationInput
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.inference import InferenceInput
from schemas.kinds.kind import Choice, Kind
from schemas.kinds.promotion import PromotionInput, PromotionTerms
from schemas.kinds.registry import KINDS
from schemas.kinds.training import TrainingInput
from schemas.models import Models
from schemas.prompts import Prompts
from schemas.topics import Lane

NO_RAGAS: Final = (
    "metrics of RAGAS need the `eval` group in the workers that serve the judge: pip install 'welip[eval]' there, and"
    " set WELIP_GATEWAY_RAGAS=on where the gateway has it not; graders of the types score_model and label_model do"
    " without it"
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that is now stored. `new` is False when its idempotency key had made it before."""

    id: UUID
    view: dict[str, Any]
    new: bool


class Submitter:
    """Writes submissions in groups, and wakes relay and dispatcher."""

    def __init__(
        self,
        database: Database,
        wake: Wake,
        receivers: Receivers,
        models: Models,
        prompts: Prompts,
        *,
        ragas: bool = True,
        straight: int = submit.STRAIGHT,
        overflow: Overflow | None = None,
    ) -> None:
        """`straight`: how many bulk jobs may be queued when others are held. `overflow`: None: none."""
        self._overflow = overflow or Overflow(database, 0)
        self._straight = straight
        self._database = database
        self._wake = wake
        self._receivers = receivers
        self._models = models
        self._aliases = PostgresAliases(database, models)
        self._prompts = prompts
        self._ragas = ragas
        self._jobs: Grouper[NewJob, Made | None] = Grouper(
            self._flush, limit=100, lanes=2, fatal=(DependencyUnavailable,)
        )

    async def submit(
        self,
        tenant: str,
        submission: Submission,
        *,
        idempotency_key: str | None = None,
        sent: bytes = b"",
        traceparent: str | None = None,
    ) -> Accepted:
        """Accept a job; `sent` is the body that the key stands for.

        Raises `ModelNotFound` for a model that is not there or cannot do the work, `AdapterNotFound`, `PromptNotFound`,
        `PromptVariables`, `Conflict` when the key came with another body before or the webhook cannot be signed,
        `InvalidInput` for an invalid webhook, for a promotion that cannot be and for metrics that need RAGAS where it
        is not installed, and `DependencyUnavailable`.
        """
        job_id, hook, kind = uuids.uuid7(), submission.webhook, KINDS[submission.kind]
        choice = await self._settled(job_id, tenant, kind, submission.input)
        self._check_judged(submission.input)
        if choice is not None and isinstance(submission.input, InferenceInput):
            settle_prompt(submission.input, choice.model, self._prompts)
        if isinstance(submission.input, PromotionInput):
            asked = submission.input
            asked.model = await self._aliases.candidate(tenant, asked.alias, asked.model, field="input.model")
        alias = None if choice is None else choice.alias
        async with self._overflow.lane(tenant, submission.lane) as lane:
            job = NewJob(
                id=job_id,
                tenant=tenant,
                kind=submission.kind,
                stage=kind.first_stage,
                lane=lane.value,
                model=None if choice is None else choice.model.name,
                alias=alias,
                alias_model=None if alias is None else kind.asked(submission.input),
                input=submission.input.model_dump_json(),
                metadata=orjson.dumps(submission.metadata).decode(),
                max_attempts=submission.max_attempts,
                timeout_s=submission.timeout_s,
                expires_in_s=submission.expires_in_s,
                idempotency_key=idempotency_key,
                fingerprint=fingerprint(sent) if idempotency_key is not None else None,
                traceparent=current_traceparent(traceparent),
                concurrency_key=submission.concurrency_key,
                webhook=await self._receivers.of_job(tenant, submission.kind, hook) if hook else None,
            )
            made = await self._jobs.call(job)
        if made is None:
            return await self._first(job)
        SUBMITTED.labels(job.kind, job.lane).inc()
        if job.alias_model is not None:
            ALIASED.labels(job.alias_model).inc()
        return Accepted(job.id, fresh_view(job, made), new=True)

    def _check_judged(self, input: Any) -> None:
        """Whether what this input has evaluated can be: metrics of RAGAS need it, and a gate's alias is no model."""
        gate = input.gate if isinstance(input, TrainingInput) else None
        field = "input" if gate is None else "input.gate"
        judged = gate or input
        can_be_judged = isinstance(judged, EvaluationInput | CalibrationInput | PromotionTerms)
        if can_be_judged and judged.package_groups and not self._ragas:
            raise InvalidInput(NO_RAGAS, code="dependency_missing", field=field)
        if gate is not None and self._models.knows(gate.alias):
            why = f"{gate.alias!r} is a model of this deployment: choose another name"
            raise InvalidInput(why, code="alias_taken", field=f"{field}.alias")

    async def _settled(self, job: UUID, tenant: str, kind: Kind, input: Any) -> Choice | None:
        """The model that the job runs on. What its name means now is written into the input: the job keeps to it.

        Of an adapter that is the newest version, of an alias the model that it gives this job. The judge of a run is no
        alias: it must not change before the run's end.
        """
        models, name = self._models, kind.asked(input)
        if name is not None and not kind.children and not models.knows(name) and named_adapter(name) is None:
            models = models.of_tenant(await self._aliases.of_job(tenant, job))
        choice = kind.choice(input, models)
        if choice is None:
            return None
        if choice.adapter is not None:
            base = choice.model
            kind.settle(input, await resolved(self._database, tenant, base, choice.adapter, field=choice.field))
        elif choice.alias is not None:
            kind.settle(input, choice.name)
        return choice

    async def _flush(self, group: Sequence[NewJob]) -> Sequence[Made | None]:
        async with self._database.connection() as connection:
            made = await submit.submit(connection, group, straight=self._straight)
        self._wake(bulk=any(job.lane == Lane.BULK for job in group))
        return made

    async def _first(self, job: NewJob) -> Accepted:
        """The job that this idempotency key made first."""
        assert job.idempotency_key is not None
        async with self._database.connection() as connection:
            found = await submit.find_idempotent(connection, job.tenant, job.idempotency_key)
            row = None if found is None else await reading.job(connection, found[0], job.tenant)
            children = {} if row is None else await reading.children(connection, [row["id"]])
        if found is None or row is None:  # it was removed between the two statements
            raise DependencyUnavailable("the job of this idempotency key was just removed")
        if not agree(found[1], job.fingerprint or b""):
            raise Conflict(
                "this Idempotency-Key came with another body before: use a new key for a new job",
                code="idempotency_key_reused",
                field="Idempotency-Key",
            )
        return Accepted(row["id"], job_view(row, children.get(row["id"])), new=False)
