"""The catalogue for readers: which collections and documents exist."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from infra.postgres.catalogue.records import absent, collection_record, document_record
from infra.postgres.database import Database
from infra.postgres.queries import catalogue
from schemas.catalogue import CollectionRecord, Holding, StoredDocument, stamp

REMEMBERED: Final = 32
"""Collections; each may have a megabyte of settings."""


class PostgresCatalogueReader:
    """Collections and documents of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: OrderedDict[tuple[str, str], CollectionRecord] = OrderedDict()

    async def collection(self, tenant: str, name: str) -> CollectionRecord:
        """The collection. Raises `NotFound`."""
        async with self._database.connection() as connection:
            row = await catalogue.collection(connection, tenant, name)
        if row is None:
            self._remembered.pop((tenant, name), None)
            raise absent(name)
        record = self._remembered[tenant, name] = collection_record(row)
        self._remembered.move_to_end((tenant, name))
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return record

    def remembered(self, tenant: str, name: str) -> CollectionRecord | None:
        """The collection as it was when it was last read here."""
        record = self._remembered.get((tenant, name))
        if record is not None:
            self._remembered.move_to_end((tenant, name))
        return record

    async def content(self, tenant: str, name: str) -> str | None:
        """A text that is another one after every change of documents or settings."""
        async with self._database.connection() as connection:
            return await catalogue.content(connection, tenant, name)

    async def holding(self, tenant: str, name: str, ids: Sequence[str]) -> Holding:
        """The collection's state, and the content hash of each document's current points, as of one moment."""
        async with self._database.connection() as connection:
            rows = await catalogue.holding(connection, tenant, name, ids)
        state = next((row["content"] for row in rows if row["id"] is None), None)
        return Holding(state, {row["id"]: stamp(row["content"], row["written"]) for row in rows if row["id"]})

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
