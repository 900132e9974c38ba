"""The catalogue's part in indexing a collection again: which index is being filled, what it lacks, and the swap."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
from pydantic import ValidationError

from infra.postgres.database import Database
from infra.postgres.queries import catalogue, rebuilds
from schemas.catalogue import IndexRecord, Recorded, Standing, Unbuilt, stamp
from schemas.collections import CollectionSettings
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.retrieval import DocumentVersion

if TYPE_CHECKING:
    from infra.postgres.database import Connection


class PostgresRebuilds:
    """Settings and indexes of collections, of all tenants."""

    _database: Database

    async def change(self, tenant: str, name: str, given: Mapping[str, Any]) -> None:
        """Merge settings into both indexes', as far as they shape no vectors. Raises `InvalidInput`, `NotFound`."""
        async with self._database.unit_of_work() as connection:
            row = await _alone(connection, tenant, name)
            for index, settings in ("generation", "settings"), ("building", "building_settings"):
                if row[index] is not None:
                    before = CollectionSettings.model_validate_json(row[settings])
                    after = _changed(before, given).changed(before.shapes_vectors())
                    await rebuilds.set_settings(connection, row[index], after.model_dump_json())

    async def start_building(
        self, job: UUID, tenant: str, name: str, given: Mapping[str, Any], *, encoder: str, embedder: str | None
    ) -> IndexRecord:
        """A new index of the collection, to be filled by the job. Raises `Conflict`, `InvalidInput`, `NotFound`."""
        async with self._database.unit_of_work() as connection:
            row = await _alone(connection, tenant, name)
            if row["building"] is None or row["building_job"] != job:
                if row["building"] is not None and await rebuilds.lives(connection, row["building_job"]):
                    raise Conflict(
                        f"collection {name!r} is being rebuilt by job_{row['building_job'].hex}: wait for its end, or"
                        " cancel it first",
                        code="rebuild_running",
                        field="input.collection",
                    )
                settings = _changed(CollectionSettings.model_validate_json(row["settings"]), given)
                await rebuilds.start(connection, tenant, name, job, settings.model_dump_json(), encoder, embedder)
            made = await catalogue.collection(connection, tenant, name)
        assert made is not None
        return IndexRecord(
            made["building"],
            CollectionSettings.model_validate_json(made["building_settings"]),
            made["building_encoder"],
            made["building_embedder"],
            made["building_dimension"],
            made["building_learned"],
        )

    async def unbuilt(
        self, tenant: str, name: str, generation: int, *, after: str = "", last: str | None = None, limit: int
    ) -> list[Unbuilt]:
        """Documents that the index lacks, in order of their ids."""
        async with self._database.connection() as connection:
            rows = await rebuilds.unbuilt(connection, tenant, name, generation, after, last, limit)
        return [
            Unbuilt(
                id=row["id"],
                version=row["written"],
                content_hash=row["content_hash"],
                bytes=row["bytes"],
                source=(row["source_blob"], row["source_offset"], row["source_bytes"]) if row["source_blob"] else None,
                deleted=row["deleted"],
            )
            for row in rows
        ]

    async def built(
        self, tenant: str, name: str, generation: int, documents: Sequence[tuple[str, int, int]]
    ) -> Recorded:
        """Note what the index has, if it is still being built."""
        async with self._database.unit_of_work() as connection:
            row = await catalogue.hold(connection, tenant, name)
            if row is None or row["building"] != generation:
                return Recorded(Standing.GONE, generation)
            done = await rebuilds.built(connection, tenant, name, generation, documents)
            rows = await catalogue.now(connection, tenant, name, [document for document, *_ in documents])
        return Recorded(Standing.NAMED, generation, frozenset(done), versions(rows))

    async def seal(self, tenant: str, name: str, generation: int, seconds: float) -> None:
        """Let writers wait, for so long at most."""
        async with self._database.connection() as connection:
            await rebuilds.seal(connection, tenant, name, generation, seconds)

    async def swap(self, tenant: str, name: str, generation: int) -> bool:
        """Search in the index that was built, unless it lacks a document."""
        async with self._database.unit_of_work() as connection:
            row = await rebuilds.alone(connection, tenant, name)
            if row is None or row["building"] != generation:
                return False
            if await rebuilds.lacks(connection, tenant, name, generation):
                return False
            await rebuilds.swap(connection, tenant, name, generation)
        return True

    async def abandon(self, tenant: str, name: str, job: UUID | None = None) -> None:
        """End the building of the job, or of one that lives no more."""
        async with self._database.connection() as connection:
            await rebuilds.abandon(connection, tenant, name, job)


def versions(rows: Sequence[asyncpg.Record]) -> list[DocumentVersion]:
    """What holds of documents, from rows of `catalogue.now`."""

    def kept(row: asyncpg.Record) -> str | None:
        written_now = row["written"] == row["version"]
        return None if row["deleted"] or written_now else stamp(row["content_hash"], row["written"])

    return [DocumentVersion(row["id"], row["version"], kept(row)) for row in rows]


def absent(name: str) -> NotFound:
    """The error for a collection that does not exist."""
    return NotFound(
        f"there is no collection {name!r}: index documents into it first",
        code="collection_not_found",
        field="collection",
    )


async def _alone(connection: "Connection", tenant: str, name: str) -> asyncpg.Record:
    row = await rebuilds.alone(connection, tenant, name)
    if row is None:
        raise absent(name)
    return row


def _changed(settings: CollectionSettings, given: Mapping[str, Any]) -> CollectionSettings:
    try:
        return settings.changed(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["input", "settings", *map(str, first["loc"])])
        raise InvalidInput(f"{field}: {first['msg']}", code="settings_invalid", field=field) from error
