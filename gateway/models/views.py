"""Rows of the models file become the JSON that clients see, in OpenAI's shape with ours beside it."""

from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Any, Final, Literal

from pydantic import BaseModel

from schemas.models import Models, ModelSpec, Price, Task

OWNER: Final = "welip"


class ModelView(BaseModel):
    """A model. `created`: when the models file was written, in Unix seconds; 0 without a file.

    `served`: whether a worker that is alive runs it now. `engine`: of its first task. `price`: of a million tokens.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    tasks: list[Task]
    engine: str
    served: bool
    context_length: int | None
    max_tokens: int | None
    price: Price | None


class ModelList(BaseModel):
    """Every model, those of the models file first."""

    object: Literal["list"] = "list"
    data: list[ModelView]


def model_views(models: Models, served: Collection[str]) -> list[dict[str, Any]]:
    """Every model; two rows of one name are one model that can do the tasks of both."""
    return [_view(list(rows), models, served) for _, rows in _by_name(models)]


def _by_name(models: Models) -> Iterable[tuple[str, Iterable[ModelSpec]]]:
    names = models.names()
    return groupby(sorted(models, key=lambda row: names.index(row.name)), key=lambda row: row.name)


def _view(rows: list[ModelSpec], models: Models, served: Collection[str]) -> dict[str, Any]:
    first = rows[0]
    return {
        "id": first.name,
        "object": "model",
        "created": models.written_at,
        "owned_by": OWNER,
        "tasks": [task for row in rows for task in row.tasks],
        "engine": first.engine,
        "served": first.name in served,
        "context_length": first.context_length,
        "max_tokens": first.limits.max_tokens,
        "price": None if first.price is None else first.price.model_dump(),
    }
