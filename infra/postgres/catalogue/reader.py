"""The catalogue for readers: which collections and documents exist."""

from collections.abc import Sequence

from infra.postgres.catalogue.records import absent, collection_record, document_record
from infra.postgres.database import Database
from infra.postgres.queries import catalogue
from schemas.catalogue import CollectionRecord, StoredDocument, stamp


class PostgresCatalogueReader:
    """Collections and documents of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def collection(self, tenant: str, name: str) -> CollectionRecord:
        """The collection. Raises `NotFound`."""
        async with self._database.connection() as connection:
            row = await catalogue.collection(connection, tenant, name)
        if row is None:
            raise absent(name)
        return collection_record(row)

    async def content(self, tenant: str, name: str) -> str | None:
        """A text that is another one after every change of documents or settings."""
        async with self._database.connection() as connection:
            return await catalogue.content(connection, tenant, name)

    async def current(self, tenant: str, name: str, ids: Sequence[str]) -> dict[str, str]:
        """The content hash of each document's current points."""
        async with self._database.connection() as connection:
            rows = await catalogue.current(connection, tenant, name, ids)
        return {row["id"]: stamp(row["content_hash"], row["written"]) for row in rows}

    async def documents(self, tenant: str, name: str, ids: Sequence[str]) -> dict[str, StoredDocument]:
        """The documents among `ids` that exist and are not deleted."""
        async with self._database.connection() as connection:
            rows = await catalogue.documents(connection, tenant, name, ids)
        return {row["id"]: document_record(row) for row in rows}

    async def sample(self, tenant: str, name: str, *, seed: int, limit: int) -> list[StoredDocument]:
        """Documents drawn at random, the same for the same seed."""
        async with self._database.connection() as connection:
            rows = await catalogue.sample(connection, tenant, name, seed, limit)
        return [document_record(row) for row in rows]
