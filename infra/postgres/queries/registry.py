"""What MLflow's model registry has of adapters and aliases, and what it is still to be told."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from infra.postgres.queries.adapters import StoredAdapter
from infra.postgres.queries.columns import names

if TYPE_CHECKING:
    from infra.postgres.database import Connection

ADAPTER: Final = ", ".join(f"a.{name}" for name in names(StoredAdapter))

# Adapters that a tracked training made and the registry lacks, the oldest first: versions come in order. Their run must
# have begun there, because the version's files lie in it.
_NEW: Final = """
FROM adapter a JOIN tracked_run r ON r.id = a.run AND r.mlflow_id IS NOT NULL
WHERE a.deleted_at IS NULL AND NOT EXISTS (SELECT FROM tracked_adapter t WHERE t.adapter = a.id)
"""
NEW_ADAPTERS: Final = f"SELECT r.mlflow_id, {ADAPTER} {_NEW} ORDER BY a.id LIMIT $1"

# What an alias means now, as a version in the registry, beside what it points to there. The first two are null where it
# means nothing that the registry has, the last two where it points to nothing.
_MOVED: Final = """
FROM (
    SELECT m.tenant, m.name AS alias, t.model, t.version
    FROM model_alias m
    JOIN adapter a ON a.tenant = m.tenant AND m.model = a.base || ':' || a.name || '@' || a.version
    JOIN tracked_adapter t ON t.adapter = a.id AND t.version IS NOT NULL
) wanted FULL JOIN tracked_alias has USING (tenant, alias)
WHERE (wanted.model, wanted.version) IS DISTINCT FROM (has.model, has.version)
"""
MOVED_ALIASES: Final = f"""
SELECT tenant, alias, wanted.model, wanted.version, has.model AS has_model, has.error IS NULL AS shown {_MOVED}
ORDER BY tenant, alias LIMIT $1
"""
ANYTHING: Final = f"SELECT EXISTS (SELECT {_NEW}) OR EXISTS (SELECT {_MOVED})"

# The registry has an adapter, or refuses it.
ADDED: Final = """
INSERT INTO tracked_adapter (adapter, model, version, error) VALUES ($1, $2, $3, $4) ON CONFLICT (adapter) DO NOTHING
"""

# An alias points there as it does here, or is refused.
POINTED: Final = """
INSERT INTO tracked_alias (tenant, alias, model, version, error) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, alias) DO UPDATE SET model = excluded.model, version = excluded.version, error = excluded.error
"""
FORGOTTEN: Final = "DELETE FROM tracked_alias WHERE tenant = $1 AND alias = $2"


@dataclass(frozen=True, slots=True)
class NewAdapter:
    """An adapter that the registry lacks. `run`: MLflow's id of the run that made it."""

    run: str
    adapter: StoredAdapter


@dataclass(frozen=True, slots=True)
class MovedAlias:
    """An alias that means `version` of `model`, or nothing in the registry. `has_model`: where it points there.

    `shown`: whether the registry took it.
    """

    tenant: str
    alias: str
    model: str | None
    version: str | None
    has_model: str | None
    shown: bool


async def anything(connection: "Connection") -> bool:
    """Whether the registry is to be told something."""
    return bool(await connection.fetchval(ANYTHING))


async def new_adapters(connection: "Connection", limit: int) -> list[NewAdapter]:
    """Adapters that the registry lacks, the oldest first."""
    return [NewAdapter(run, StoredAdapter(*row)) for run, *row in await connection.fetch(NEW_ADAPTERS, limit)]


async def moved_aliases(connection: "Connection", limit: int) -> list[MovedAlias]:
    """Aliases that point elsewhere in the registry than here."""
    return [MovedAlias(*row) for row in await connection.fetch(MOVED_ALIASES, limit)]


async def added(
    connection: "Connection", adapter: UUID, model: str, version: str | None, error: str | None = None
) -> None:
    """Note that the registry has an adapter, or why it refuses it."""
    await connection.execute(ADDED, adapter, model, version, error)


async def pointed(
    connection: "Connection", tenant: str, alias: str, model: str, version: str, error: str | None = None
) -> None:
    """Note where an alias points in the registry, or why it may not."""
    await connection.execute(POINTED, tenant, alias, model, version, error)


async def forgotten(connection: "Connection", tenant: str, alias: str) -> None:
    """Note that an alias points to nothing in the registry."""
    await connection.execute(FORGOTTEN, tenant, alias)
