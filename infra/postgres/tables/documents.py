"""Files, and the documents that were made searchable from them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import time


class File(SQLModel, table=True):
    """An uploaded or produced file; its bytes lie in object storage under `blob`."""

    __tablename__ = "file"
    __table_args__ = (
        Index("file_newest", "tenant", "id", postgresql_include=["bytes"]),
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


class BlobGarbage(SQLModel, table=True):
    """A blob, or a folder of blobs, that no row names any more, or not yet: to be deleted when `due_at` has come."""

    __tablename__ = "blob_garbage"
    blob: str = Field(primary_key=True, sa_type=Text)
    due_at: datetime = time(now=True)


class Collection(SQLModel, table=True):
    """A set of documents that is searched together, and the encoders its vectors were made with."""

    __tablename__ = "collection"
    tenant: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    encoder: str = Field(sa_type=Text)
    embedder: str | None = Field(sa_type=Text)
    created_at: datetime = time(now=True)


class Document(SQLModel, table=True):
    """A document that is indexed. `content_hash` covers its text and every setting that shapes its vectors."""

    __tablename__ = "document"
    tenant: str = Field(primary_key=True, sa_type=Text)
    collection: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    content_hash: str = Field(sa_type=Text)
    chunks: int
    bytes: int = Field(sa_type=BigInteger)
    updated_at: datetime = time(now=True)
