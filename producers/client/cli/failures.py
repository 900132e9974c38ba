"""Turns an error into one line on stderr with its remedy, and an exit code."""

from producers.client.cli.terminal import note
from producers.client.errors import ApiError, JobFailed, WelipError

JOB_FAILED = 1
WRONG_USE = 2
NO_ANSWER = 3
INTERRUPTED = 130


class WrongUse(WelipError):
    """The command cannot do what was asked: a missing file, an unknown column, an unknown format."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


def exit_code(error: Exception) -> int:
    """The exit code for an error."""
    if isinstance(error, JobFailed):
        return JOB_FAILED
    if isinstance(error, ApiError):
        return WRONG_USE if error.status < 500 else NO_ANSWER
    if isinstance(error, WrongUse):
        return WRONG_USE
    # The remaining errors of the client, and a database that does not answer the commands about keys.
    return NO_ANSWER if isinstance(error, WelipError | ConnectionError | TimeoutError) else WRONG_USE


def report(error: Exception) -> int:
    """Print the error and its remedy as one line; returns the exit code."""
    remedy = getattr(error, "remedy", None)
    line = f"welip: {error}" + (f" -- {remedy}" if remedy else "")
    note(" ".join(line.split()))
    return exit_code(error)


def report_defect(error: Exception) -> int:
    """Print an unforeseen error; returns the exit code."""
    note(f"welip: unexpected {type(error).__name__}: {error} -- set WELIP_DEBUG=1 for the traceback")
    return NO_ANSWER
