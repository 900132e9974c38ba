"""Reads the lines of a batch's input file: each is a request, and becomes a job of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from schemas.errors import InvalidInput
from schemas.jobs import Submission, SubmitJob
from schemas.kinds.registry import KINDS
from schemas.kinds.shapes import said
from schemas.models import Models
from schemas.openai.endpoints import ENDPOINTS
from schemas.topics import Lane

JOBS: Final = "/v1/jobs"
"""The endpoint of lines that are submissions of our own: a job of any kind."""

EVERY_ENDPOINT: Final = (*ENDPOINTS, JOBS)
MAX_LINES: Final = 50_000
MAX_BYTES: Final = 200 * 1024**2
MAX_LINE_BYTES: Final = 1024**2
MAX_ID_CHARS: Final = 200

KNOWN: Final = frozenset({"custom_id", "method", "url", "body"})
OF_THE_BATCH: Final = ("expires_in_s", "metadata", "webhook")
"""Fields of a submission that a line cannot have: the batch's own hold for all lines."""

SUBMISSION: Final[TypeAdapter[Submission]] = TypeAdapter(SubmitJob, config=ConfigDict(defer_build=True))


@dataclass(frozen=True, slots=True)
class LineJob:
    """The job of a line. `custom_id` is the owner's name for it; what is None, the kind decides."""

    custom_id: str
    kind: str
    input: BaseModel
    max_attempts: int | None = None
    timeout_s: float | None = None


class LineInvalid(InvalidInput):
    """A line that is no request. `field` is its part at fault."""

    code = "invalid_line"


def read_line(line: bytes, endpoint: str, models: Models) -> LineJob:
    """The job of a line of a batch for this endpoint. Raises `InvalidInput` with a code and the field."""
    if len(line) > MAX_LINE_BYTES:
        raise LineInvalid(f"the line is longer than {MAX_LINE_BYTES:,} bytes", code="line_too_long")
    try:
        given = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        raise LineInvalid(f"the line is not JSON: {error}", code="invalid_json_line") from error
    if not isinstance(given, dict):
        raise LineInvalid("the line is not a JSON object", code="invalid_json_line")
    custom_id = _custom_id(given)
    if given.get("method") != "POST":
        raise LineInvalid("the method of every line is POST", code="invalid_method", field="method")
    if given.get("url") != endpoint:
        raise LineInvalid(f"the batch is for {endpoint}, and so is every line", code="invalid_url", field="url")
    body = given.get("body")
    if not isinstance(body, dict):
        raise LineInvalid("the line has no `body`, a JSON object", code="missing_body", field="body")
    if unknown := sorted(given.keys() - KNOWN):
        raise LineInvalid("a line has custom_id, method, url and body", code="unknown_field", field=unknown[0][:100])
    return _job(custom_id, endpoint, body, models)


def _custom_id(given: Mapping[str, Any]) -> str:
    found = given.get("custom_id")
    if isinstance(found, str) and 0 < len(found) <= MAX_ID_CHARS and found.isprintable():
        return found
    why = f"give each line a `custom_id` of its own, 1 to {MAX_ID_CHARS} printable characters"
    raise LineInvalid(why, code="invalid_custom_id" if "custom_id" in given else "missing_custom_id", field="custom_id")


def _job(custom_id: str, endpoint: str, body: Mapping[str, Any], models: Models) -> LineJob:
    if endpoint == JOBS:
        submission = _submission(body)
        job = LineJob(custom_id, submission.kind, submission.input, submission.max_attempts, submission.timeout_s)
    else:
        found = ENDPOINTS[endpoint]
        job = LineJob(custom_id, found.kind, found.request(body))
    try:
        KINDS[job.kind].model(job.input, models)
    except InvalidInput as error:
        field = (error.field or "").removeprefix("input.") if endpoint != JOBS else error.field
        raise LineInvalid(error.message, code=error.reason, field=f"body.{field}") from error
    return job


def _submission(body: Mapping[str, Any]) -> Submission:
    try:
        made = SUBMISSION.validate_json(to_json(body), strict=True)
    except ValidationError as error:
        where, why = said(error, "body")
        # The second part names the branch of the union: the kind.
        parts = where.split(".")
        if len(parts) > 2 and parts[1] in KINDS:
            del parts[1]
        raise LineInvalid(why, field=".".join(parts)) from error
    if made.kind not in KINDS["batch"].children:
        raise LineInvalid(f"a line cannot be a job of kind {made.kind!r}", code="kind_not_allowed", field="body.kind")
    for field in OF_THE_BATCH:
        if field in made.model_fields_set:
            raise LineInvalid("say this for the whole batch, not for a line", field=f"body.{field}")
    if "lane" in made.model_fields_set and made.lane is not Lane.BULK:
        raise LineInvalid("the lines of a batch travel in the lane `bulk`", field="body.lane")
    return made
