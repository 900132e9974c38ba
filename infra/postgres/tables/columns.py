"""Column types that several tables share."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import JSON, Column, DateTime, text
from sqlmodel import Field

from schemas.lifecycle import JobState


def time(*, null: bool = False, now: bool = False) -> Any:
    """A point in time; with `now`, Postgres's clock fills it in."""
    return Field(
        sa_column=Column(DateTime(timezone=True), nullable=null, server_default=text("now()") if now else None),
        default=None,
    )


def json(*, null: bool = True) -> Any:
    """Opaque JSON. Type `json`, not `jsonb`: it is stored as text, needs no parsing and may hold any string."""
    return Field(sa_column=Column(JSON(), nullable=null), default=None)


def states(some: Iterable[JobState]) -> str:
    """The states as SQL literals."""
    return ", ".join(f"'{state.value}'" for state in sorted(some))
