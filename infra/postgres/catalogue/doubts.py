"""Compares the catalogue with the indexes: what it says about each, and what follows when they differ."""

from typing import TYPE_CHECKING, Final

import asyncpg
import structlog
import uuid_utils.compat as uuids

from infra.postgres.database import Database
from infra.postgres.queries import doubts, rebuilds, submit
from schemas.errors import DependencyUnavailable
from schemas.kinds.indexing import IndexingInput
from schemas.kinds.registry import KINDS
from schemas.retrieval import IndexName
from schemas.topics import Lane
from schemas.watermarks import Age, Change, Claim, Doubt, Watermark, doubt_of

if TYPE_CHECKING:
    from infra.postgres.database import Connection

log = structlog.get_logger(__name__)

KIND: Final = KINDS["indexing"]


class PostgresDoubts:
    """Indexes of all tenants. With `rebuild`, an index that contradicts the catalogue is rebuilt, not only reported."""

    def __init__(self, database: Database, *, rebuild: bool = True) -> None:
        self._database = database
        self._rebuild = rebuild

    async def indexes(self) -> list[IndexName]:
        """The indexes that collections name, starting with those that are being built."""
        async with self._database.connection() as connection:
            rows = await doubts.claims(connection)
        return [IndexName(row["tenant"], row["collection"], row["id"]) for row in rows]

    async def claim(self, index: IndexName) -> Claim | None:
        """What the catalogue now says about the index; None when no collection names it."""
        async with self._database.connection() as connection:
            rows = await doubts.claims(connection, index.generation)
        return _claim(rows[0]) if rows else None

    async def compare(self, index: IndexName, before: Claim, mark: Watermark | None) -> Doubt | None:
        """Whether the index contradicts the catalogue. If so, this is recorded; the first to find out also acts."""
        async with self._database.unit_of_work() as connection:
            rows = await doubts.claims(connection, index.generation)
            if not rows:
                return None
            [row] = rows
            found = doubt_of(before, mark, _claim(row))
            if found is None:
                return None
            if row["building"]:
                # Abandoned, so that its job notices and fails: points that it counted as built are missing.
                await rebuilds.abandon(connection, index.tenant, index.collection, row["building_job"])
            elif not await doubts.doubt(connection, index.generation, found):
                return found
            elif self._rebuild and not await self._being_rebuilt(connection, row):
                await submit.submit(connection, [_rebuild(index, found)])
        log.warning(
            "index.contradicts_catalogue",
            tenant=index.tenant,
            collection=index.collection,
            generation=index.generation,
            doubt=found.value,
        )
        return found

    async def age(self) -> Age:
        """The highest number that Postgres has given out, and the identity of this copy of the database."""
        try:
            async with self._database.connection() as connection:
                row = await doubts.age(connection)
        except asyncpg.UndefinedTableError as error:
            raise DependencyUnavailable(f"Postgres is being restored: {error}") from error
        return Age(row["number"], f"{row['file']} {row['constraints']} {row['started']}")

    async def pass_number(self, number: int) -> None:
        """Give out only higher numbers from now on."""
        async with self._database.connection() as connection:
            await doubts.pass_number(connection, number)

    async def _being_rebuilt(self, connection: "Connection", row: asyncpg.Record) -> bool:
        return row["building_job"] is not None and await rebuilds.lives(connection, row["building_job"])


async def changed(connection: "Connection", generation: int, version: int = 0) -> Change:
    """Count a catalogue write that the index is to follow; must be the last statement of its transaction."""
    row = await doubts.changed(connection, generation, version)
    return Change(row["incarnation"], row["change"])


def _claim(row: asyncpg.Record) -> Claim:
    return Claim(Change(row["incarnation"], row["change"]), row["reached"], row["documents"])


def _rebuild(index: IndexName, why: Doubt) -> submit.NewJob:
    """The job that `welip collections rebuild` would submit, with the reason in its metadata."""
    return submit.NewJob(
        id=uuids.uuid7(),
        tenant=index.tenant,
        kind=KIND.name,
        stage=KIND.first_stage,
        lane=Lane.BULK.value,
        input=IndexingInput(collection=index.collection, rebuild=True).model_dump_json(),
        metadata=f'{{"reason": "{why.value}"}}',
        max_attempts=KIND.max_attempts,
    )
