"""Adapters by their names: what a job's request means, and what clients are shown."""

from collections.abc import Sequence

from infra.postgres.database import Database
from infra.postgres.queries import adapters
from infra.postgres.queries.adapters import StoredAdapter
from schemas.adapters import AdapterNotFound, NamedAdapter
from schemas.kinds.kind import Choice
from schemas.models import ModelSpec, OpenAIModel


async def resolved(database: Database, tenant: str, choice: Choice) -> str:
    """The full name of the version that a job's adapter means now. Raises `AdapterNotFound` with those there are."""
    named = choice.adapter
    assert named is not None
    if named.version is None and named.name in own_adapters(choice.model):
        return str(named)
    async with database.connection() as connection:
        found = await adapters.find(connection, tenant, named.base, named.name, named.version)
        if found is not None:
            return full_name(found)
        there = await adapters.newest(connection, tenant)
    names = [*own_adapters(choice.model), *(one.name for one in there if one.base == named.base)]
    listed = ", ".join(f"{named.base}:{name}" for name in names[:50]) or "none"
    raise AdapterNotFound(f"there is no adapter {str(named)!r}; adapters of this model: {listed}", field=choice.field)


def own_adapters(model: ModelSpec) -> Sequence[str]:
    """The adapters that the model's server has itself, by their names here."""
    return tuple(model.adapters) if isinstance(model, OpenAIModel) else ()


def full_name(found: StoredAdapter) -> str:
    """`base:adapter@version`."""
    return str(NamedAdapter(found.base, found.name, found.version))
