"""Why a text is not analysed: one code per cause, with what the owner can do about it."""

from collections.abc import Mapping
from typing import Final

from infra.isolation.pool import Broke, IsolationError, TookTooLong, TookTooMuch
from schemas.errors import DocumentRefused, InvalidInput

REMEDIES: Final[Mapping[str, str]] = {
    "analysis_failed": "leave out what is not prose; if it is prose, report it",
    "analysis_timeout": "make it shorter, give its collection fewer words and synonyms,"
    " or let WELIP_ANALYSIS_TIMEOUT be longer",
    "analysis_too_large": "make it shorter, or let WELIP_ANALYSIS_MEMORY_BYTES be more",
}


def document_refused(error: IsolationError) -> DocumentRefused:
    """The refusal of a document whose analysis failed with `error`."""
    code = _code(error)
    return DocumentRefused(f"the analysis of the document {_why(error)}; {REMEDIES[code]}", code=code)


def question_refused(error: IsolationError) -> InvalidInput:
    """The refusal of a question whose analysis failed with `error`."""
    code = _code(error)
    why = f"the analysis of the question {_why(error)}; {REMEDIES[code]}"
    return InvalidInput(why, code=code, field="input.question")


def _code(error: IsolationError) -> str:
    match error:
        case TookTooLong():
            return "analysis_timeout"
        case TookTooMuch():
            return "analysis_too_large"
    return "analysis_failed"


def _why(error: IsolationError) -> str:
    match error:
        case TookTooLong():
            return "took longer than it may"
        case TookTooMuch():
            return f"took more than it may: {error}"
        case Broke():
            return f"broke off: {error}"
    return "broke off"
