"""The catalogue of collections and documents, and the children of a fan-out: what stages ask of Postgres."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson

from infra.postgres.database import Database
from infra.postgres.queries import catalogue, files, reading
from schemas.errors import Conflict, NotFound

D = TypeVar("D")
C = TypeVar("C")

PAGE = 500


class PostgresCatalogue(Generic[D]):
    """Collections and documents of all tenants. `document` builds what a stage calls a stored document."""

    def __init__(self, database: Database, document: Callable[..., D]) -> None:
        self._database = database
        self._document = document

    async def ensure_collection(self, tenant: str, name: str, *, encoder: str, embedder: str | None) -> None:
        """Make the record, or raise `Conflict` when the collection was made with other encoders."""
        async with self._database.connection() as connection:
            row = await catalogue.ensure(connection, tenant, name, encoder, embedder)
        if (row["encoder"], row["embedder"]) != (encoder, embedder):
            raise Conflict(
                f"collection {name!r} was made with {row['encoder']} and {row['embedder'] or 'no embedder'}, this"
                f" deployment has {encoder} and {embedder or 'no embedder'}: index into another collection, or"
                " configure the same encoders",
                code="encoder_mismatch",
                field="collection",
            )

    async def documents(self, tenant: str, name: str, ids: Iterable[str]) -> dict[str, D]:
        """The known ones among `ids`."""
        async with self._database.connection() as connection:
            rows = await catalogue.documents(connection, tenant, name, list(ids))
        return {row["id"]: self._document(**row) for row in rows}

    async def record_documents(self, tenant: str, name: str, documents: Sequence[Any]) -> None:
        """Insert or replace."""
        async with self._database.connection() as connection:
            await catalogue.record(
                connection, tenant, name, [(d.id, d.content_hash, d.chunks, d.bytes) for d in documents]
            )

    async def forget_documents(self, tenant: str, name: str, ids: Sequence[str]) -> list[str]:
        """Remove; the ids that were known."""
        async with self._database.connection() as connection:
            return await catalogue.forget(connection, tenant, name, ids)

    async def is_empty(self, tenant: str, name: str) -> bool:
        """Whether the collection holds no document. Raises `NotFound`."""
        async with self._database.connection() as connection:
            empty = await catalogue.is_empty(connection, tenant, name)
        if empty is None:
            raise NotFound(
                f"there is no collection {name!r}: index documents into it first",
                code="collection_not_found",
                field="collection",
            )
        return empty

    async def drop_collection(self, tenant: str, name: str) -> bool:
        """Remove the collection and its documents; False when there was none."""
        async with self._database.connection() as connection:
            return await catalogue.drop(connection, tenant, name)

    async def file_key(self, tenant: str, file_id: str) -> tuple[str, str]:
        """Blob key and file name of `file_<hex>`. Raises `NotFound`."""
        async with self._database.connection() as connection:
            row = await files.file(connection, UUID(hex=file_id.removeprefix("file_")), tenant)
        if row is None:
            raise NotFound(f"there is no file {file_id}: upload it first", code="file_not_found", field="file")
        return row["blob"], row["filename"]


@dataclass(frozen=True, slots=True)
class PostgresChildren(Generic[C]):
    """Reads the children of fan-outs back. `summary` builds what a stage calls a child's summary."""

    database: Database
    summary: Callable[..., C]

    async def results(self, job_id: UUID) -> AsyncIterator[C]:
        """Every child in the order they were made; no connection is held between pages."""
        after: UUID | None = None
        while True:
            async with self.database.connection() as connection:
                rows = await reading.child_results(connection, job_id, after, PAGE)
            for row in rows:
                yield self.summary(
                    input=orjson.loads(row["input"]),
                    result=orjson.loads(row["result"]) if row["result"] else None,
                    error=orjson.loads(row["error"]) if row["error"] else None,
                )
            if len(rows) < PAGE:
                return
            after = rows[-1]["id"]
