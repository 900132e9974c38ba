"""Jobs that the gateway submits for a request and waits for: searches and deletes. Only workers touch the index."""

from typing import Any, Final

import orjson
from pydantic import BaseModel

from gateway.files.content import file_bytes
from gateway.http.errors import NotDoneYet
from gateway.jobs.reads import job_of
from gateway.services import Services
from infra.postgres.queries import cancel
from schemas.errors import Conflict, InvalidInput, JobError, NotFound
from schemas.ids import parsed
from schemas.jobs import Submission
from schemas.lifecycle import JobState

ANSWER_WITHIN_S: Final = 30
AT_FAULT: Final[dict[str, tuple[type[JobError], str]]] = {
    "collection_not_found": (NotFound, "name"),
    "collection_empty": (Conflict, "name"),
    "embedder_missing": (Conflict, "name"),
    "encoder_mismatch": (Conflict, "name"),
    "index_missing": (Conflict, "name"),
    "index_restored": (Conflict, "name"),
    "filter_field_unknown": (InvalidInput, "filter"),
    "reranker_missing": (InvalidInput, "rerank"),
}
"""Errors of a search's job that are the caller's fault: the error class, and the field as the caller wrote it."""


async def done(services: Services, tenant: str, kind: str, input: BaseModel) -> dict[str, Any]:
    """The result of a job in the interactive lane; its error, raised, when it fails. Raises `NotDoneYet` after 30 s."""
    await services.limits.submission(tenant)
    accepted = await services.submitter.submit(
        tenant, Submission(kind=kind, input=input, timeout_s=ANSWER_WITHIN_S, expires_in_s=ANSWER_WITHIN_S)
    )
    if not await services.endings.wait(accepted.id, ANSWER_WITHIN_S):
        async with services.database.connection() as connection:
            await cancel.cancel(connection, accepted.id, tenant)
        raise NotDoneYet(f"no worker answered within {ANSWER_WITHIN_S} s; do workers of the pools `cpu` and `gpu` run?")
    job = await job_of(services, accepted.id, tenant)
    if job["state"] != JobState.SUCCEEDED:
        raise as_error(job["error"] or {"code": "job_cancelled", "message": "the job was cancelled"})
    result: dict[str, Any] = job["result"]
    if set(result) == {"file"}:
        result = orjson.loads(await file_bytes(services, tenant, parsed("file", result["file"])))
    return result


def as_error(error: dict[str, Any]) -> JobError:
    """A job's error, as one that names the part of this request at fault."""
    code: str = error["code"]
    if code == "expired" or error.get("retryable"):
        return NotDoneYet(error["message"], code=code)
    kind, field = AT_FAULT.get(code, (JobError, None))
    return kind(error["message"], code=code, field=field)
