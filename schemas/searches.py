"""A search and its hits, as gateway and workers exchange them."""

from typing import Any, Final

from pydantic import BaseModel

ANSWER_WITHIN_S: Final = 30
"""Seconds that a search may take, and how long the gateway waits for other work that it submits for a request."""


class Hit(BaseModel):
    """A chunk that answers; `start`/`end` are character offsets in its document.

    `heading` is the path of headings it stands under, `page` the 1-based page it begins on.
    """

    document_id: str
    chunk_id: str
    title: str | None
    text: str
    score: float
    scores: dict[str, float]
    start: int
    end: int
    metadata: dict[str, Any]
    heading: str | None
    page: int | None


class Hits(BaseModel):
    """Best first."""

    data: list[Hit]


HIT: Final = tuple(Hit.model_fields)
"""The fields of a hit, in the order in which they are shown."""
