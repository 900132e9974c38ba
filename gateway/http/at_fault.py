"""What the error of a worker means to the request that asked for the work: whose fault it is, and of which field."""

from typing import Any, Final

from gateway.http.errors import LimitReached, NotDoneYet
from schemas.errors import Conflict, InvalidInput, JobError, NotFound

AT_FAULT: Final[dict[str, tuple[type[JobError], str]]] = {
    "analysis_failed": (InvalidInput, "query"),
    "analysis_timeout": (InvalidInput, "query"),
    "analysis_too_large": (InvalidInput, "query"),
    "collection_not_found": (NotFound, "name"),
    "collection_empty": (Conflict, "name"),
    "embedder_missing": (Conflict, "name"),
    "encoder_mismatch": (Conflict, "name"),
    "index_missing": (Conflict, "name"),
    "index_restored": (Conflict, "name"),
    "filter_field_unknown": (InvalidInput, "filter"),
    "reranker_missing": (InvalidInput, "rerank"),
}
"""Errors of a search that are the caller's fault: the error class, and the field as the caller wrote it."""

LIMITED: Final = frozenset({"too_many_searches"})
"""Errors that say that the caller asks for too much at once."""


def as_error(error: dict[str, Any]) -> JobError:
    """The error of a job or a search, as one that names the part of this request at fault."""
    code: str = error["code"]
    if code in LIMITED:
        return LimitReached(error["message"], code=code)
    if code == "expired" or error.get("retryable"):
        return NotDoneYet(error["message"], code=code)
    kind, field = AT_FAULT.get(code, (JobError, None))
    return kind(error["message"], code=code, field=field)
