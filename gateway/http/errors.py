"""Errors that only a request can end with, and the only mapping from errors to HTTP statuses."""

from typing import Final

from schemas.errors import Conflict, DependencyUnavailable, InvalidInput, JobError, NotFound


class Unauthenticated(JobError):
    """The request carries no valid API key."""

    code = "unauthenticated"


class Forbidden(JobError):
    """The API key is valid, but does not allow this."""

    code = "forbidden"


class PreconditionFailed(InvalidInput):
    """A condition of the request (`If-Match`) does not hold."""

    code = "precondition_failed"


class TooLarge(InvalidInput):
    """The request's body or file is larger than this deployment accepts."""

    code = "too_large"


class LimitReached(JobError):
    """The tenant has reached a limit of this deployment; a retry after `retry_after_s` seconds may help."""

    code = "limit_reached"
    retryable = True
    retry_after_s = 1


class RangeUnsatisfiable(InvalidInput):
    """The `Range` header asks for bytes beyond the end of `size` bytes."""

    code = "range_unsatisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes", field="Range")
        self.size = size


class NotDoneYet(DependencyUnavailable):
    """A job did not give its answer in time."""

    code = "not_done_yet"


STATUS: Final[tuple[tuple[type[JobError], int], ...]] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (PreconditionFailed, 412),
    (TooLarge, 413),
    (RangeUnsatisfiable, 416),
    (LimitReached, 429),
    (NotFound, 404),
    (Conflict, 409),
    (DependencyUnavailable, 503),
    (InvalidInput, 422),
)
"""The first class that an error is an instance of gives its status; without a match it is 500."""


def status_of(error: JobError) -> int:
    """The HTTP status that an error is answered with."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)
