"""What the parts of the catalogue share: records made from rows, the locked row, merged settings."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg
from pydantic import ValidationError

from infra.postgres.queries import rebuilds
from schemas.catalogue import CollectionRecord, IndexRecord, StoredDocument, stamp
from schemas.collections import STORED, CollectionSettings
from schemas.errors import InvalidInput, NotFound
from schemas.retrieval import DocumentVersion
from schemas.watermarks import Doubt

if TYPE_CHECKING:
    from infra.postgres.database import Connection


def collection_record(row: asyncpg.Record) -> CollectionRecord:
    """A collection from a row of `catalogue.collection`."""
    building = None
    if row["building"] is not None:
        building = IndexRecord(
            row["building"],
            stored_settings(row["building_settings"]),
            row["building_encoder"],
            row["building_embedder"],
            row["building_dimension"],
            row["building_learned"],
        )
    return CollectionRecord(
        name=row["name"],
        settings=stored_settings(row["settings"]),
        encoder=row["encoder"],
        embedder=row["embedder"],
        dimension=row["dimension"],
        learned=row["learned"],
        generation=row["generation"],
        building=building,
        building_job=row["building_job"] if building else None,
        documents=row["documents"],
        fields=frozenset(row["fields"]),
        born=row["born"],
        doubt=Doubt(row["doubt"]) if row["doubt"] else None,
        state=row["state"],
    )


def document_record(row: asyncpg.Record) -> StoredDocument:
    """A document that is not deleted, from a row of `catalogue.documents`."""
    return StoredDocument(
        row["id"],
        row["written"],
        row["content_hash"],
        row["chunks"],
        row["bytes"],
        (row["source_blob"], row["source_offset"], row["source_bytes"]),
    )


def versions(rows: Sequence[asyncpg.Record]) -> list[DocumentVersion]:
    """The current versions of documents, from rows of `catalogue.now`."""

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


async def alone(connection: "Connection", tenant: str, name: str) -> asyncpg.Record:
    """The collection's row, locked exclusively until the end of the transaction. Raises `NotFound`."""
    row = await rebuilds.alone(connection, tenant, name)
    if row is None:
        raise absent(name)
    return row


def changed_settings(settings: CollectionSettings, given: Mapping[str, Any]) -> CollectionSettings:
    """The settings with `given` merged in. Raises `InvalidInput` (`settings_invalid`), which names the field."""
    try:
        return settings.changed(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["input", "settings", *map(str, first["loc"])])
        raise InvalidInput(f"{field}: {first['msg']}", code="settings_invalid", field=field) from error


@lru_cache(maxsize=16)
def stored_settings(text: str) -> CollectionSettings:
    """A collection's settings from its row. Cached: every question needs them, and a megabyte of words takes 20 ms."""
    return CollectionSettings.model_validate_json(text, context=STORED)
