"""Jobs that the gateway submits for a request and waits for: deletes, and searches that no worker takes directly."""

from typing import Any

import orjson
from pydantic import BaseModel

from gateway.files.content import file_bytes
from gateway.http.at_fault import as_error
from gateway.http.errors import NotDoneYet
from gateway.jobs.reads import job_of
from gateway.services import Services
from infra.postgres.queries import cancel
from schemas.ids import parsed
from schemas.jobs import Submission
from schemas.lifecycle import JobState
from schemas.searches import ANSWER_WITHIN_S


async def done(services: Services, tenant: str, kind: str, input: BaseModel) -> dict[str, Any]:
    """The result of a job in the interactive lane; its error, raised, when it fails. Raises `NotDoneYet` after 30 s.

    The caller has counted it as a submission.
    """
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
