"""Adapters by their names: the version that a request means, and the full name that says which."""

from collections.abc import Sequence

from infra.postgres.database import Database
from infra.postgres.queries import adapters
from infra.postgres.queries.adapters import StoredAdapter
from schemas.adapters import AdapterNotFound, NamedAdapter
from schemas.models import ModelSpec, OpenAIModel


async def resolved(database: Database, tenant: str, base: ModelSpec, named: NamedAdapter, *, field: str) -> str:
    """The full name of the version that an adapter's name means now. Raises `AdapterNotFound` with those there are."""
    if named.version is None and named.name in own_adapters(base):
        return str(named)
    async with database.connection() as connection:
        found = await adapters.find(connection, tenant, named.base, named.name, named.version)
        if found is not None:
            return full_name(found)
        there = await adapters.newest(connection, tenant)
    names = [*own_adapters(base), *(one.name for one in there if one.base == named.base)]
    listed = ", ".join(f"{named.base}:{name}" for name in names[:50]) or "none"
    raise AdapterNotFound(f"there is no adapter {str(named)!r}; adapters of this model: {listed}", field=field)


def own_adapters(model: ModelSpec) -> Sequence[str]:
    """The adapters that the model's server has itself, by their names here."""
    return tuple(model.adapters) if isinstance(model, OpenAIModel) else ()


def full_name(found: StoredAdapter) -> str:
    """`base:adapter@version`."""
    return str(NamedAdapter(found.base, found.name, found.version))
