"""The catalogue in memory, for one event loop: no change awaits anything, so each is a transaction."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any
from uuid import UUID

from schemas.catalogue import (
    CollectionRecord,
    Holding,
    IndexRecord,
    Recorded,
    Standing,
    StoredDocument,
    Unbuilt,
    stamp,
)
from schemas.collections import CollectionSettings
from schemas.errors import Conflict, NotFound
from schemas.retrieval import DocumentVersion, IndexName
from schemas.watermarks import Change, Claim, Doubt, Watermark, doubt_of


@dataclass
class Row:
    """A document's row."""

    version: int
    stored: StoredDocument | None
    written: int
    built: tuple[int, int] | None = None
    had: int = 0
    added: int | None = None


@dataclass
class Shelf:
    """A collection's row and its documents."""

    born: int
    index: IndexRecord
    building: IndexRecord | None = None
    building_job: UUID | None = None
    sealed: bool = False
    fields: set[str] = field(default_factory=set)
    documents: dict[str, Row] = field(default_factory=dict)
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class MemoryCatalogue:
    """`shelves` by tenant and name; `garbage`: blobs that nothing names (yet); `ended`: the ids of ended jobs."""

    shelves: dict[tuple[str, str], Shelf] = field(default_factory=dict)
    garbage: set[str] = field(default_factory=set)
    ended: set[UUID] = field(default_factory=set)
    generations: dict[int, tuple[str, str]] = field(default_factory=dict)
    versions: dict[UUID, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    numbers: "count[int]" = field(default_factory=lambda: count(1))
    claims: dict[int, Claim] = field(default_factory=dict)
    doubts: dict[int, Doubt] = field(default_factory=dict)
    read: dict[tuple[str, str], CollectionRecord] = field(default_factory=dict)

    async def collection(self, tenant: str, name: str) -> CollectionRecord:
        self.read.pop((tenant, name), None)
        record = self.read[tenant, name] = self._record(tenant, name)
        return record

    def remembered(self, tenant: str, name: str) -> CollectionRecord | None:
        return self.read.get((tenant, name))

    async def holding(self, tenant: str, name: str, ids: Sequence[str]) -> Holding:
        state = self._record(tenant, name).state if (tenant, name) in self.shelves else None
        return Holding(state, {one: stored.stamp for one, stored in (await self.documents(tenant, name, ids)).items()})

    def _record(self, tenant: str, name: str) -> CollectionRecord:
        shelf = self._shelf(tenant, name)
        made = shelf.index
        record = CollectionRecord(
            name=name,
            settings=made.settings,
            encoder=made.encoder,
            embedder=made.embedder,
            dimension=made.dimension,
            learned=made.learned,
            generation=made.generation,
            building=shelf.building,
            building_job=shelf.building_job,
            documents=any(row.stored for row in shelf.documents.values()),
            fields=frozenset(shelf.fields),
            born=shelf.born,
            doubt=self.doubts.get(made.generation),
        )
        told = replace(record, building=None, building_job=None, fields=frozenset())
        return replace(record, state=repr((told, sorted(record.fields))))

    async def content(self, tenant: str, name: str) -> str | None:
        shelf = self.shelves.get((tenant, name))
        return None if shelf is None else repr((shelf.index, sorted(shelf.documents.items())))

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
        if (tenant, name) not in self.shelves and settings is not None:
            born = next(self.numbers)
            self.generations[born] = (tenant, name)
            self.shelves[tenant, name] = Shelf(born, IndexRecord(born, settings, encoder, embedder, None, False))
        record = await self.collection(tenant, name)
        if self.versions.get(job, 0) < record.born:
            self.versions[job] = next(self.numbers)
        return record, self.versions[job]

    async def sample(self, tenant: str, name: str, *, seed: int, limit: int) -> list[StoredDocument]:
        known = [row.stored for row in self._shelf(tenant, name).documents.values() if row.stored is not None]
        return Random(seed).sample(known, min(limit, len(known)))

    async def documents(self, tenant: str, name: str, ids: Sequence[str]) -> dict[str, StoredDocument]:
        shelf = self.shelves.get((tenant, name))
        rows = shelf.documents if shelf else {}
        return {known: stored for known in ids if known in rows and (stored := rows[known].stored)}

    async def touch(self, tenant: str, name: str, version: int, hashes: Mapping[str, str]) -> set[str]:
        known = await self.documents(tenant, name, list(hashes))
        same = {one for one, stored in known.items() if stored.content_hash == hashes[one]}
        for one in same:
            row = self.shelves[tenant, name].documents[one]
            row.version = max(row.version, version)
        return same

    async def add_fields(self, tenant: str, name: str, fields: Collection[str]) -> None:
        self._shelf(tenant, name).fields.update(fields)

    async def expect_source(self, blob: str, job: UUID) -> None:
        self.garbage.add(blob)

    async def standing(self, tenant: str, name: str, generation: int, version: int) -> Standing:
        shelf = self.shelves.get((tenant, name))
        if shelf is None or shelf.born > version:
            return Standing.GONE
        if shelf.index.generation != generation:
            return Standing.MOVED
        return Standing.SEALED if shelf.sealed else Standing.NAMED

    async def settled(self, tenant: str, name: str, version: int, ids: Sequence[str]) -> bool:
        rows = self._shelf(tenant, name).documents
        return all(known in rows and rows[known].version >= version for known in ids)

    async def record(
        self, tenant: str, name: str, generation: int, version: int, documents: Sequence[StoredDocument]
    ) -> Recorded:
        standing = await self.standing(tenant, name, generation, version)
        if standing is not Standing.NAMED:
            return Recorded(standing, generation)
        rows = self.shelves[tenant, name].documents
        changed = set()
        for document in documents:
            row = rows.get(document.id)
            if row is None or row.version <= version:
                built = row.built if row else None
                added = row.added if row and row.stored else version
                rows[document.id] = Row(version, document, version, built, document.chunks, added)
                changed.add(document.id)
                self.garbage.discard(document.source[0])
        self._sweep(tenant, name)
        ids = [document.id for document in documents]
        recorded = self._recorded(tenant, name, generation, changed, ids, version)
        return replace(recorded, added=frozenset(one.id for one in documents if rows[one.id].added == version))

    async def forget(self, tenant: str, name: str, version: int, ids: Sequence[str]) -> Recorded:
        shelf = self._shelf(tenant, name)
        standing = await self.standing(tenant, name, shelf.index.generation, version)
        if standing is not Standing.NAMED:
            return Recorded(standing, shelf.index.generation)
        changed = set()
        for known in ids:
            row = shelf.documents.get(known)
            if row is None or row.version <= version:
                if row and (row.stored or (row.version == version and row.had)):
                    changed.add(known)
                shelf.documents[known] = Row(version, None, version, row.built if row else None, row.had if row else 0)
        self._sweep(tenant, name)
        return self._recorded(tenant, name, shelf.index.generation, changed, ids)

    async def drop(self, tenant: str, name: str, *, made_before: datetime) -> None:
        shelf = self.shelves.get((tenant, name))
        if shelf and shelf.made_at < made_before:
            del self.shelves[tenant, name]
            self.garbage.add(f"{tenant}/collections/{name}/{shelf.born}")

    async def leftovers(self, tenant: str, name: str) -> list[int]:
        shelf = self.shelves.get((tenant, name))
        named = {shelf.index.generation, shelf.building.generation if shelf.building else 0} if shelf else set()
        return [one for one, where in self.generations.items() if where == (tenant, name) and one not in named]

    async def let_go(self, tenant: str, name: str, generation: int) -> None:
        self.generations.pop(generation, None)

    @asynccontextmanager
    async def hold(
        self, tenant: str, name: str, generation: int, *, dimension: int | None, learned: bool
    ) -> AsyncIterator[bool]:
        shelf = self.shelves.get((tenant, name))
        for part in ("index", "building"):
            made: IndexRecord | None = getattr(shelf, part, None)
            if made is not None and made.generation == generation:
                if made.dimension not in (None, dimension):
                    raise Conflict("another model's", code="dimension_mismatch")
                setattr(shelf, part, replace(made, dimension=dimension, learned=learned))
                yield True
                return
        yield False

    async def change(self, tenant: str, name: str, given: Mapping[str, Any]) -> None:
        shelf = self._shelf(tenant, name)
        for part in ("index", "building"):
            made: IndexRecord | None = getattr(shelf, part)
            if made is not None:
                settings = made.settings.changed(given).changed(made.settings.shapes_vectors())
                setattr(shelf, part, replace(made, settings=settings))

    async def start_building(
        self, job: UUID, tenant: str, name: str, given: Mapping[str, Any], *, encoder: str, embedder: str | None
    ) -> IndexRecord:
        shelf = self._shelf(tenant, name)
        if shelf.building is None or shelf.building_job != job:
            if shelf.building is not None and shelf.building_job not in self.ended:
                raise Conflict(name, code="rebuild_running")
            generation = next(self.numbers)
            self.generations[generation] = (tenant, name)
            settings = shelf.index.settings.changed(given)
            shelf.building = IndexRecord(generation, settings, encoder, embedder, None, False)
            shelf.building_job = job
        return shelf.building

    async def unbuilt(
        self, tenant: str, name: str, generation: int, *, after: str = "", last: str | None = None, limit: int
    ) -> list[Unbuilt]:
        rows = sorted(self._shelf(tenant, name).documents.items())
        return [
            Unbuilt(
                known,
                row.written,
                row.stored.content_hash if row.stored else "",
                row.stored.bytes if row.stored else 0,
                row.stored.source if row.stored else None,
                row.stored is None,
            )
            for known, row in rows
            if row.built != (generation, row.written) and known > after and (last is None or known <= last)
        ][:limit]

    async def built(
        self, tenant: str, name: str, generation: int, documents: Sequence[tuple[str, int, int]]
    ) -> Recorded:
        shelf = self.shelves.get((tenant, name))
        if shelf is None or shelf.building is None or shelf.building.generation != generation:
            return Recorded(Standing.GONE, generation)
        changed = {known for known, version, _ in documents if shelf.documents[known].written == version}
        for known in changed:
            shelf.documents[known].built = (generation, shelf.documents[known].written)
        reached = max((version for known, version, chunks in documents if chunks and known in changed), default=0)
        return self._recorded(tenant, name, generation, changed, [known for known, *_ in documents], reached)

    async def seal(self, tenant: str, name: str, generation: int, seconds: float) -> None:
        self._shelf(tenant, name).sealed = True

    async def swap(self, tenant: str, name: str, generation: int) -> bool:
        shelf = self._shelf(tenant, name)
        if shelf.building is None or await self.unbuilt(tenant, name, generation, limit=1):
            return False
        shelf.index, shelf.building, shelf.building_job, shelf.sealed = shelf.building, None, None, False
        return True

    async def abandon(self, tenant: str, name: str, job: UUID | None = None) -> None:
        shelf = self._shelf(tenant, name)
        if shelf.building_job is not None and (shelf.building_job == job or shelf.building_job in self.ended):
            shelf.building, shelf.building_job, shelf.sealed = None, None, False

    async def claim(self, index: IndexName) -> Claim | None:
        shelf = self.shelves.get((index.tenant, index.collection))
        if shelf is None or index.generation not in (
            shelf.index.generation,
            (shelf.building or shelf.index).generation,
        ):
            return None
        documents = any(row.stored for row in shelf.documents.values())
        return replace(self._claim(index.generation), documents=documents)

    async def compare(self, index: IndexName, before: Claim, mark: Watermark | None) -> Doubt | None:
        after = await self.claim(index)
        found = after and doubt_of(before, mark, after)
        if found is not None:
            self.doubts[index.generation] = found
        return found

    def _claim(self, generation: int) -> Claim:
        return self.claims.get(generation, Claim(Change(UUID(int=generation), 0), 0, False))

    def _shelf(self, tenant: str, name: str) -> Shelf:
        if (tenant, name) not in self.shelves:
            raise NotFound(name, code="collection_not_found")
        return self.shelves[tenant, name]

    def _sweep(self, tenant: str, name: str) -> None:
        """What no document names is garbage. Only the collection's blobs count; this catalogue writes no others."""
        rows = self.shelves[tenant, name].documents.values()
        now = {row.stored.source[0] for row in rows if row.stored}
        self.garbage |= self.named - now
        self.named |= now

    def _recorded(
        self, tenant: str, name: str, generation: int, changed: set[str], ids: Sequence[str], reached: int = 0
    ) -> Recorded:
        known_so_far = self._claim(generation)
        change = replace(known_so_far.last, number=known_so_far.last.number + 1)
        self.claims[generation] = Claim(change, max(known_so_far.version, reached), documents=False)
        rows = self.shelves[tenant, name].documents
        now = [
            DocumentVersion(
                known,
                rows[known].version,
                stamp(stored.content_hash, rows[known].written) if (stored := rows[known].stored) else None,
            )
            for known in ids
        ]
        return Recorded(Standing.NAMED, generation, frozenset(changed), now, change=change)
