"""The catalogue as indexing jobs write it. Each change is one transaction, which fences off stale jobs."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from infra.postgres.catalogue.doubts import changed
from infra.postgres.catalogue.records import (
    absent,
    alone,
    changed_settings,
    collection_record,
    stored_settings,
    versions,
)
from infra.postgres.database import Database
from infra.postgres.queries import catalogue, rebuilds
from schemas.catalogue import CollectionRecord, Recorded, Standing, StoredDocument
from schemas.collections import MAX_COLLECTIONS, CollectionSettings
from schemas.errors import Conflict, NotFound

if TYPE_CHECKING:
    from infra.postgres.database import Connection


class _SourceLostError(Exception):
    """Ends a transaction that would name a blob that is gone."""


class PostgresCatalogueWriter:
    """Collections and documents of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self,
        job: UUID,
        tenant: str,
        name: str,
        *,
        settings: CollectionSettings | None,
        encoder: str,
        embedder: str | None,
    ) -> tuple[CollectionRecord, int]:
        """The collection and the job's version; with `settings`, a missing collection is created.

        Raises `NotFound`, and `Conflict` when the tenant has as many collections as it may.
        """
        async with self._database.connection() as connection:
            row = await catalogue.collection(connection, tenant, name)
            while row is None:
                if settings is None:
                    raise absent(name)
                text = settings.model_dump_json()
                async with connection.transaction():
                    room = await catalogue.make(connection, tenant, name, text, encoder, embedder)
                row = await catalogue.collection(connection, tenant, name)
                if row is None and not room:
                    raise Conflict(
                        f"there are {MAX_COLLECTIONS} collections already: remove one",
                        code="too_many_collections",
                        field="input.collection",
                    )
            version = await catalogue.version(connection, job, row["born"])
        if version is None:
            raise NotFound(f"there is no job {job}")
        return collection_record(row), version

    async def touch(self, tenant: str, name: str, version: int, hashes: Mapping[str, str]) -> set[str]:
        """Raise the versions of the documents that still have this content hash; returns their ids."""
        async with self._database.connection() as connection:
            return await catalogue.touch(connection, tenant, name, version, list(hashes), list(hashes.values()))

    async def add_fields(self, tenant: str, name: str, fields: Collection[str]) -> None:
        """Register metadata fields that documents are about to have."""
        if fields:
            async with self._database.connection() as connection:
                await catalogue.add_fields(connection, tenant, name, sorted(fields)[:1000])

    async def expect_source(self, blob: str, job: UUID) -> None:
        """Announce that the job is about to write a blob of parsed texts."""
        async with self._database.connection() as connection:
            await catalogue.expect_source(connection, blob, job)

    async def standing(self, tenant: str, name: str, generation: int, version: int) -> Standing:
        """The present state of the index, as a job of `version` sees it."""
        async with self._database.connection() as connection:
            return _standing(await catalogue.standing(connection, tenant, name), generation, version)

    async def settled(self, tenant: str, name: str, version: int, ids: Sequence[str]) -> bool:
        """Whether a job of this or a higher version has spoken about each of the documents."""
        async with self._database.connection() as connection:
            rows = await catalogue.now(connection, tenant, name, ids)
        return {row["id"] for row in rows if row["version"] >= version} >= set(ids)

    async def record(
        self, tenant: str, name: str, generation: int, version: int, documents: Sequence[StoredDocument]
    ) -> Recorded:
        """Make documents from one source blob current, except those that a later-planned job has written."""
        try:
            async with self._database.unit_of_work() as connection:
                standing = _standing(await catalogue.hold(connection, tenant, name), generation, version)
                if standing is not Standing.NAMED or not documents:
                    return Recorded(standing, generation)
                [blob] = {document.source[0] for document in documents}
                known = await catalogue.source_named(connection, blob)
                rows = [(d.id, d.content_hash, d.chunks, d.bytes, *d.source[1:]) for d in documents]
                written = await catalogue.record(connection, tenant, name, version, blob, rows)
                if written and not await catalogue.name_source(connection, blob) and not known:
                    raise _SourceLostError
                await _let_sources_go(connection, written, but=blob)
                now = await catalogue.now(connection, tenant, name, [document.id for document in documents])
                change = await changed(connection, generation, version)
        except _SourceLostError:
            return Recorded(Standing.SOURCE_LOST, generation)
        as_wanted = frozenset(row["id"] for row in written)
        added = frozenset(row["id"] for row in now if row["added"] == version)
        return Recorded(Standing.NAMED, generation, as_wanted, versions(now), added=added, change=change)

    async def forget(self, tenant: str, name: str, version: int, ids: Sequence[str]) -> Recorded:
        """Delete documents. Raises `NotFound` when the collection does not exist."""
        async with self._database.unit_of_work() as connection:
            row = await catalogue.hold(connection, tenant, name)
            if row is None:
                raise absent(name)
            standing = _standing(row, row["generation"], version)
            if standing is not Standing.NAMED:
                return Recorded(standing, row["generation"])
            gone = await catalogue.forget(connection, tenant, name, version, ids)
            await _let_sources_go(connection, gone)
            now = versions(await catalogue.now(connection, tenant, name, ids))
            change = await changed(connection, row["generation"])
        known = frozenset(row["id"] for row in gone if row["was_there"])
        return Recorded(Standing.NAMED, row["generation"], known, now, change=change)

    async def drop(self, tenant: str, name: str, *, made_before: datetime) -> None:
        """Remove a collection that was created before `made_before`, with its documents."""
        async with self._database.unit_of_work() as connection:
            born = await catalogue.drop(connection, tenant, name, made_before)
            if born is not None:
                await catalogue.drop_sources(connection, f"{tenant}/collections/{name}/{born}")

    async def leftovers(self, tenant: str, name: str) -> list[int]:
        """The generations that no collection names."""
        async with self._database.connection() as connection:
            return await catalogue.leftovers(connection, tenant, name)

    async def let_go(self, tenant: str, name: str, generation: int) -> None:
        """Record that a leftover generation's index has been dropped."""
        async with self._database.connection() as connection:
            await catalogue.let_go(connection, tenant, name, generation)

    @asynccontextmanager
    async def hold(
        self, tenant: str, name: str, generation: int, *, dimension: int | None, learned: bool
    ) -> AsyncIterator[bool]:
        """Keep the generation from becoming a leftover in the block; yields whether it is named. Raises `Conflict`."""
        async with self._database.unit_of_work() as connection:
            row = await catalogue.hold(connection, tenant, name)
            named = row is not None and generation in (row["generation"], row["building"])
            if named:
                arms = await catalogue.arms(connection, generation, dimension, learned)
                if arms != (dimension, learned):
                    raise Conflict(
                        f"collection {name!r} has dense vectors of length {arms[0]}"
                        f"{' and learned ones' if arms[1] else ''}, this embedder gives {dimension}"
                        f"{' and learned ones' if learned else ''}: configure the same one, or rebuild the collection",
                        code="dimension_mismatch",
                        field="input.collection",
                    )
            yield named

    async def change(self, tenant: str, name: str, given: Mapping[str, Any]) -> None:
        """Merge settings that do not shape vectors into those of both indexes. Raises `InvalidInput`, `NotFound`."""
        async with self._database.unit_of_work() as connection:
            row = await alone(connection, tenant, name)
            for index, settings in ("generation", "settings"), ("building", "building_settings"):
                if row[index] is not None:
                    before = stored_settings(row[settings])
                    after = changed_settings(before, given).changed(before.shapes_vectors())
                    await rebuilds.set_settings(connection, row[index], after.model_dump_json())


async def _let_sources_go(connection: "Connection", rows: Sequence[asyncpg.Record], *, but: str = "") -> None:
    blobs = {row["source_blob"] for row in rows} - {None, but}
    if blobs:
        await catalogue.let_sources_go(connection, sorted(blobs))


def _standing(row: asyncpg.Record | None, generation: int, version: int) -> Standing:
    if row is None or row["born"] > version:
        return Standing.GONE
    if generation != row["generation"]:
        return Standing.MOVED
    return Standing.SEALED if row["sealed"] else Standing.NAMED
