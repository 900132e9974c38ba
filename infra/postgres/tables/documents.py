"""Files, and the documents that were made searchable from them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Column, Index, Sequence, Text, text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import json, time

NUMBERS = Sequence("indexing_number", metadata=SQLModel.metadata)
"""One sequence for the versions of indexing jobs and the generations of indexes, so that no number is used again."""


class File(SQLModel, table=True):
    """An uploaded or produced file; its bytes are in object storage under `blob`. Null `expires_at` means never."""

    __tablename__ = "file"
    __table_args__ = (
        Index("file_newest", "tenant", "id", postgresql_include=["bytes"]),
        Index("file_purpose", "tenant", "purpose", "id"),
        Index("file_expiring", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        Index("file_blob", "blob", postgresql_ops={"blob": "text_pattern_ops"}),  # the files below a job's folder
    )
    id: UUID = Field(primary_key=True)
    tenant: str = Field(sa_type=Text)
    filename: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    content_type: str = Field(sa_type=Text)
    bytes: int = Field(sa_type=BigInteger)
    sha256: str = Field(sa_type=Text)
    blob: str = Field(sa_type=Text)
    created_at: datetime = time(now=True)
    expires_at: datetime | None = time(null=True)


class BlobGarbage(SQLModel, table=True):
    """A blob, or a folder of blobs, that no row names any more, or not yet: to be deleted at `due_at`.

    It is deleted again at `again_at` if somebody may still write there. `job_id` is the job that writes it and will
    name it; null after the first deletion.
    """

    __tablename__ = "blob_garbage"
    __table_args__ = (
        Index("blob_garbage_due", "due_at"),
        Index("blob_garbage_job", "job_id", postgresql_where=text("job_id IS NOT NULL")),
    )
    blob: str = Field(primary_key=True, sa_type=Text)
    due_at: datetime = time(now=True)
    again_at: datetime | None = time(null=True)
    job_id: UUID | None


class StoredBlob(SQLModel, table=True):
    """A blob that a job is writing or has written, with the bytes reserved for it; the row goes when the blob does.

    What a job published is a `File` instead. Rows exist only for what was written under a limit.
    """

    __tablename__ = "stored_blob"
    __table_args__ = (Index("stored_blob_folder", "blob", postgresql_ops={"blob": "text_pattern_ops"}),)
    blob: str = Field(primary_key=True, sa_type=Text)
    tenant: str = Field(sa_type=Text)
    bytes: int = Field(sa_type=BigInteger)


class StoredTotal(SQLModel, table=True):
    """The sum of a tenant's stored blobs, updated by the statements that change those."""

    __tablename__ = "stored_total"
    tenant: str = Field(primary_key=True, sa_type=Text)
    bytes: int = Field(sa_type=BigInteger)


class Collection(SQLModel, table=True):
    """A set of documents that is searched together, in the index `generation`.

    `born` tells collections of the same name apart: a job with a lower version was planned for an earlier one.
    `building` is the index that a rebuild, the job `building_job`, is filling. Until `sealed_until`, no document is
    written.
    """

    __tablename__ = "collection"
    tenant: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    born: int = Field(sa_type=BigInteger)
    generation: int = Field(sa_type=BigInteger)
    building: int | None = Field(sa_type=BigInteger)
    building_job: UUID | None
    sealed_until: datetime | None = time(null=True)
    fields: Any = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default=text("'{}'")))
    created_at: datetime = time(now=True)


class Generation(SQLModel, table=True):
    """A physical index, and what its vectors are made with. If its collection does not name it, it is to be dropped.

    `incarnation`, `change` and `reached` are what the index must agree with (`schemas/watermarks.py`); `doubt` says why
    it does not.
    """

    __tablename__ = "generation"
    __table_args__ = (Index("generation_collection", "tenant", "collection"),)
    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    tenant: str = Field(sa_type=Text)
    collection: str = Field(sa_type=Text)
    settings: Any = json(null=False)
    encoder: str = Field(sa_type=Text)
    embedder: str | None = Field(sa_type=Text)
    dimension: int | None
    learned: bool = Field(sa_column_kwargs={"server_default": text("false")})
    incarnation: UUID = Field(sa_column_kwargs={"server_default": text("gen_random_uuid()")})
    change: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    reached: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    doubt: str | None = Field(sa_type=Text)
    created_at: datetime = time(now=True)


class Document(SQLModel, table=True):
    """A document that is indexed or was deleted recently. The row is the truth; the points in the index follow it.

    `version` is the highest of the jobs that spoke about it, `written` that of the job whose points are current, and
    `added` that of the job that wrote it when it did not exist. The `source_` columns say where its parsed text is.
    `chunks` of a deleted document is how many it had. The `built_` columns say which version of it, and in how many
    chunks, is in the index that is being built or was built last.
    """

    __tablename__ = "document"
    __table_args__ = (
        Index("document_source", "source_blob", postgresql_where=text("source_blob IS NOT NULL")),
        Index("document_deleted", "updated_at", postgresql_where=text("deleted")),
    )
    tenant: str = Field(primary_key=True, sa_type=Text)
    collection: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    written: int = Field(sa_type=BigInteger)
    added: int | None = Field(sa_type=BigInteger)
    deleted: bool = Field(sa_column_kwargs={"server_default": text("false")})
    content_hash: str = Field(sa_type=Text)
    chunks: int
    bytes: int = Field(sa_type=BigInteger)
    source_blob: str | None = Field(sa_type=Text)
    source_offset: int | None = Field(sa_type=BigInteger)
    source_bytes: int | None = Field(sa_type=BigInteger)
    built_generation: int | None = Field(sa_type=BigInteger)
    built_version: int | None = Field(sa_type=BigInteger)
    built_chunks: int | None
    updated_at: datetime = time(now=True)
