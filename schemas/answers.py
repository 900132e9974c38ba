"""Answers that every resource gives: an error, and a confirmation that something was removed."""

from typing import Literal

from pydantic import BaseModel


class Deleted(BaseModel):
    """Something is gone. `id` is a file's or a document's id, or a collection's name."""

    id: str
    object: str
    deleted: bool


class OpenAIError(BaseModel):
    """The error as OpenAI's clients read it; they show `message`, which holds the remedy too."""

    message: str
    type: Literal[
        "authentication_error", "invalid_request_error", "permission_error", "rate_limit_error", "server_error"
    ]
    param: str | None
    code: str


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable; `field` is the part of the request at fault; `remedy` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    remedy: str | None = None
    errors: list[dict[str, str]] | None = None
    error: OpenAIError
