"""What a call of the client can raise.

WelipError
├── ApiError            the server refused: status, stable code, message, field at fault, remedy
├── JobFailed           a job that was waited for ended as failed or cancelled
├── WaitTimeout         a job that was waited for had not ended in time; it continues
├── StreamRestarted     a text that was being read began again, and differs
├── ConnectionFailed    nobody answered
│   └── StreamBroken    the connection was lost in the middle of an answer
└── UnexpectedAnswer    somebody answered, but not as WeLIP does
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producers.client.models import Job


class WelipError(Exception):
    """The root of every error the client raises on purpose."""

    remedy: str | None = None
    """What to do about it, if known."""


class ApiError(WelipError):
    """The server refused the request (RFC 9457 problem). `retry_after` is in seconds, from the server's header."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{message} (field `{field}`)" if field and field not in message else message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.remedy = remedy
        self.retry_after = retry_after


class JobFailed(WelipError):
    """The job ended as `failed` or `cancelled`; `job.error` holds the code and whether a retry can help."""

    def __init__(self, job: "Job") -> None:
        self.job = job
        self.code = job.error.code if job.error else str(job.state)
        super().__init__(f"job {job.id} {job.state}" + (f": {job.error.message} [{self.code}]" if job.error else ""))
        self.remedy = "submitting it again may help" if job.error and job.error.retryable else None


class WaitTimeout(WelipError, TimeoutError):
    """The job had not ended within `timeout` seconds. It continues: wait again, or cancel it."""

    def __init__(self, job: "Job", timeout: float) -> None:
        super().__init__(f"job {job.id} is still {job.state} after {timeout:g} s")
        self.job = job
        self.remedy = "the job continues: wait again, or cancel it"


class StreamRestarted(WelipError):
    """A job's text began again, because its worker died, and differs from what was given out: that no longer holds."""

    def __init__(self, job: str) -> None:
        super().__init__(f"the text of job {job} began again, and differs from what was read of it")
        self.remedy = "read it again from its beginning with stream(), or pass `on_restart` to be told"


class ConnectionFailed(WelipError):
    """Nobody answered at `url`. `sent` says whether the request may have reached the server."""

    def __init__(self, url: str, reason: str, *, sent: bool) -> None:
        super().__init__(f"no answer from {url}: {reason}")
        self.url = url
        self.sent = sent
        self.remedy = "start the server with `welip up`, or name a running one with WELIP_URL (`welip --url URL ...`)"


class StreamBroken(ConnectionFailed):
    """The connection was lost, or silent for too long, in the middle of a streamed answer."""


class UnexpectedAnswer(WelipError):
    """The answer is not WeLIP's: a wrong URL, a proxy's page, or a server of another version."""

    remedy = "check WELIP_URL, and that client and server are of the same version"
