"""Rows of the models file become the JSON that clients see, in OpenAI's shape with ours beside it."""

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from infra.postgres.adapters import own_adapters
from infra.postgres.queries.adapters import StoredAdapter
from schemas.aliases import Alias, base_of
from schemas.models import Models, ModelSpec, Price, Task

OWNER: Final = "welip"


class ModelView(BaseModel):
    """A model, or an adapter of one. `created`: of a model, when the models file was written; Unix seconds, 0 without.

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
    parent: str | None = Field(None, description="Of an adapter: the model it was trained on.")
    version: int | None = Field(None, description="Of a registered adapter: its newest version, or the one asked for.")
    rank: int | None = None
    sha256: str | None = Field(None, description="Of a registered adapter: of configuration and weights together.")
    alias_of: str | None = Field(None, description="Of an alias: the model that it points to.")


class ModelList(BaseModel):
    """Every model, those of the models file first."""

    object: Literal["list"] = "list"
    data: list[ModelView]


def model_views(
    models: Models, served: Collection[str], adapters: Sequence[StoredAdapter] = (), aliases: Sequence[Alias] = ()
) -> list[dict[str, Any]]:
    """Every model, then its adapters; two rows of one name are one model that can do the tasks of both. Then aliases.

    An alias whose model is gone is missing, and so is one that has the name of a model.
    """
    views: list[dict[str, Any]] = []
    for _, rows in _by_name(models):
        base = _view(list(rows), models, served)
        views.append(base)
        views += [_adapter(base, name) for row in models if row.name == base["id"] for name in own_adapters(row)]
        views += [adapter_view(base, one) for one in adapters if one.base == base["id"]]
    bases = {view["id"]: view for view in views}
    known = [one for one in aliases if base_of(one.model) in bases and not models.knows(one.name)]
    return views + [_alias(bases[base_of(one.model)], one) for one in known]


def adapter_view(base: dict[str, Any], found: StoredAdapter, *, version: bool = False) -> dict[str, Any]:
    """A registered adapter beside the view of its model; `version`: the id names the version."""
    return {
        **_adapter(base, f"{found.name}@{found.version}" if version else found.name),
        "created": int(found.created_at.timestamp()),
        "owned_by": found.tenant,
        "version": found.version,
        "rank": found.rank,
        "sha256": found.sha256,
    }


def _alias(base: dict[str, Any], found: Alias) -> dict[str, Any]:
    return {
        **base,
        "id": found.name,
        "created": int(found.created_at.timestamp()),
        "owned_by": found.tenant,
        "alias_of": found.model,
    }


def _adapter(base: dict[str, Any], name: str) -> dict[str, Any]:
    tasks = [task for task in base["tasks"] if task != "embeddings"]
    return {**base, "id": f"{base['id']}:{name}", "parent": base["id"], "tasks": tasks}


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
        "parent": None,
        "version": None,
        "rank": None,
        "sha256": None,
        "alias_of": None,
    }
