"""Writes the lines of a batch's output: what became of each request, in OpenAI's form."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic_core import from_json, to_json

from schemas.batches.lines import JOBS
from schemas.errors import NotFound
from schemas.ids import shown
from schemas.lifecycle import JobState
from schemas.openai.endpoints import ENDPOINTS

Closing = Literal["cancelled", "expired"]
"""Why a batch ended before all of its lines were done."""

PIECE_BYTES: Final = 256 * 1024
"""Lines are passed on in pieces of about this size."""

CUT_OFF: Final[dict[Closing | None, tuple[str, str]]] = {
    "cancelled": ("batch_cancelled", "the batch was cancelled before this request was done"),
    "expired": ("batch_expired", "the batch's completion window ended before this request was done"),
    None: ("request_cancelled", "this request was cancelled by itself"),
}


@dataclass(frozen=True, slots=True)
class LineEnd:
    """A line's job, which has ended. `result` and `error` are JSON; a large result is `{"file": "file_..."}`."""

    id: UUID
    custom_id: str
    kind: str
    state: JobState
    result: str | None
    error: str | None
    created_at: datetime
    finished_at: datetime

    @property
    def file(self) -> str | None:
        """The id of the file that its result is, if it is one."""
        if self.result is None or not self.result.startswith('{"file"'):
            return None
        told = from_json(self.result)
        return str(told["file"]) if set(told) == {"file"} else None


def output_line(end: LineEnd, endpoint: str, closing: Closing | None, result: bytes | None = None) -> bytes:
    """A line of the output, with its line break. `result`: the content of the file that the result is."""
    response: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    match end.state:
        case JobState.SUCCEEDED:
            response = _response(end, 200, _body(end, endpoint, result))
        case JobState.FAILED:
            told = from_json(end.error or "{}")
            response = _response(end, 500 if told.get("retryable") else 400, {"error": _error(told)})
        case _:
            code, message = CUT_OFF[closing]
            error = {"code": code, "message": message}
    return _line(end, response, error)


def _line(end: LineEnd, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    line = {"id": f"batch_req_{end.id.hex}", "custom_id": end.custom_id, "response": response, "error": error}
    return to_json(line) + b"\n"


def _response(end: LineEnd, status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"status_code": status, "request_id": shown("job", end.id), "body": body}


def _body(end: LineEnd, endpoint: str, result: bytes | None) -> dict[str, Any]:
    whole = from_json(result if result is not None else end.result or "null")
    if endpoint == JOBS:
        return {
            "id": shown("job", end.id),
            "object": "job",
            "kind": end.kind,
            "state": end.state.value,
            "result": whole,
            "error": None,
            "created_at": end.created_at,
            "finished_at": end.finished_at,
        }
    return ENDPOINTS[endpoint].answer(whole, end.id.hex, int(end.finished_at.timestamp()))


def _error(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "message": told.get("message", "the request failed"),
        "type": "server_error" if told.get("retryable") else "invalid_request_error",
        "param": told.get("field"),
        "code": told.get("code", "job_failed"),
    }


async def output(
    ends: AsyncIterator[LineEnd],
    endpoint: str,
    closing: Closing | None,
    content: Callable[[str], Awaitable[bytes]],
) -> AsyncIterator[bytes]:
    """The output of these lines, a piece at a time. `content` reads the file that a large result is, by its id."""
    piece, size = [], 0
    async for end in ends:
        try:
            line = output_line(end, endpoint, closing, None if end.file is None else await content(end.file))
        except NotFound:
            line = _lost(end)
        piece.append(line)
        size += len(line)
        if size > PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


def _lost(end: LineEnd) -> bytes:
    message = f"the result was the file {end.file}, which has been removed"
    return _line(end, None, {"code": "result_removed", "message": message})
