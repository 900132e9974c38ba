"""The catalogue's part in rebuilding a collection: which index is being filled, what it lacks, and the swap."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from infra.postgres.catalogue.doubts import changed
from infra.postgres.catalogue.records import alone, changed_settings, stored_settings, versions
from infra.postgres.database import Database
from infra.postgres.queries import catalogue, rebuilds
from schemas.catalogue import IndexRecord, Recorded, Standing, Unbuilt
from schemas.errors import Conflict


class PostgresRebuildCatalogue:
    """The indexes being built, of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start_building(
        self, job: UUID, tenant: str, name: str, given: Mapping[str, Any], *, encoder: str, embedder: str | None
    ) -> IndexRecord:
        """A new index of the collection, for the job to fill. Raises `Conflict`, `InvalidInput`, `NotFound`."""
        async with self._database.unit_of_work() as connection:
            row = await alone(connection, tenant, name)
            if row["building"] is None or row["building_job"] != job:
                if row["building"] is not None and await rebuilds.lives(connection, row["building_job"]):
                    raise Conflict(
                        f"collection {name!r} is being rebuilt by job_{row['building_job'].hex}: wait for its end, or"
                        " cancel it first",
                        code="rebuild_running",
                        field="input.collection",
                    )
                settings = changed_settings(stored_settings(row["settings"]), given)
                await rebuilds.start(connection, tenant, name, job, settings.model_dump_json(), encoder, embedder)
            made = await catalogue.collection(connection, tenant, name)
        assert made is not None
        return IndexRecord(
            made["building"],
            stored_settings(made["building_settings"]),
            made["building_encoder"],
            made["building_embedder"],
            made["building_dimension"],
            made["building_learned"],
        )

    async def unbuilt(
        self, tenant: str, name: str, generation: int, *, after: str = "", last: str | None = None, limit: int
    ) -> list[Unbuilt]:
        """The documents that the index lacks, in order of their ids."""
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
        """Record what the index holds, if it is still being built. `documents`: (id, version, chunks)."""
        async with self._database.unit_of_work() as connection:
            row = await catalogue.hold(connection, tenant, name)
            if row is None or row["building"] != generation:
                return Recorded(Standing.GONE, generation)
            done = await rebuilds.built(connection, tenant, name, generation, documents)
            rows = await catalogue.now(connection, tenant, name, [document for document, *_ in documents])
            has_points = (version for document, version, chunks in documents if chunks and document in done)
            change = await changed(connection, generation, max(has_points, default=0))
        return Recorded(Standing.NAMED, generation, frozenset(done), versions(rows), change=change)

    async def seal(self, tenant: str, name: str, generation: int, seconds: float) -> None:
        """Make writers wait, for at most this many seconds."""
        async with self._database.connection() as connection:
            await rebuilds.seal(connection, tenant, name, generation, seconds)

    async def swap(self, tenant: str, name: str, generation: int) -> bool:
        """Search in the new index from now on, unless it lacks a document; returns whether it was swapped in."""
        async with self._database.unit_of_work() as connection:
            row = await rebuilds.alone(connection, tenant, name)
            if row is None or row["building"] != generation:
                return False
            if await rebuilds.lacks(connection, tenant, name, generation):
                return False
            await rebuilds.swap(connection, tenant, name, generation)
        return True

    async def abandon(self, tenant: str, name: str, job: UUID | None = None) -> None:
        """Stop the build of this job, or one whose job has ended."""
        async with self._database.connection() as connection:
            await rebuilds.abandon(connection, tenant, name, job)
