"""`indexing`: put documents into a collection, take them out of it, or change how it is indexed."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_serializer, model_validator

from schemas.collections import Chunking, CollectionSettings
from schemas.names import CollectionName, Composed, DocumentId, FileId, StoredDocumentId, Title

MAX_DOCUMENTS = 1_000
MAX_DOCUMENT_CHARS = 10_000_000
"""A longer document is refused by itself (`document_too_large`); split it."""

Scalar = Annotated[str | int | float | bool, Composed]
Column = Annotated[str, Composed, StringConstraints(min_length=1, max_length=200)]
DocumentFormat = Literal["text", "markdown", "html", "pdf", "docx", "hwp", "hwpx"]


class Document(BaseModel):
    """A document: its text, or an uploaded file that holds it. `format` is guessed from the file's name when absent."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    id: DocumentId
    title: Title | None = None
    text: str | None = None
    file: FileId | None = None
    format: DocumentFormat | None = None
    metadata: dict[Column, Scalar] = Field(default_factory=dict, max_length=32)

    @model_validator(mode="after")
    def _one_source(self) -> "Document":
        if (self.text is None) == (self.file is None):
            raise ValueError("give exactly one of `text` and `file`")
        return self


class Corpus(BaseModel):
    """An uploaded table of documents, one a row. Column names refer to the header (TSV, CSV), to keys (JSONL) or to
    columns (Parquet).

    Without `id`, a row's document id is its 1-based number. `metadata` columns are kept for filters.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    file: FileId
    format: Literal["tsv", "csv", "jsonl", "parquet"]
    text: Column = "text"
    title: Column | None = None
    id: Column | None = None
    metadata: list[Column] = Field(default_factory=list, max_length=32)
    id_prefix: Annotated[str, StringConstraints(max_length=100)] = ""


class IndexingInput(BaseModel):
    """What to index (`documents`, `corpus`, or both), what to remove (`delete`, document ids), and how (`settings`).

    `settings` may be a part of a collection's settings: what it leaves out stays as it is. A change of what vectors
    are made from indexes the collection again in the background, as does `rebuild`.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    collection: CollectionName
    documents: list[Document] = Field(default_factory=list, max_length=MAX_DOCUMENTS)
    corpus: Corpus | None = None
    delete: list[StoredDocumentId] = Field(default_factory=list, max_length=MAX_DOCUMENTS)
    drop: bool = Field(False, description="Remove the whole collection; nothing else may be given with it.")
    settings: CollectionSettings | None = Field(
        None, description="Changes these settings and keeps the others; a new collection begins with them."
    )
    rebuild: bool = Field(False, description="Index the collection again, with the encoders of this deployment.")
    chunking: Chunking | None = Field(
        None, description="Short for `settings.chunking` of a new collection; refused when an existing one has another."
    )

    @field_serializer("settings", "chunking")
    def _only_what_was_given(self, settings: BaseModel | None) -> dict[str, Any] | None:
        return None if settings is None else settings.model_dump(mode="json", exclude_unset=True)

    @model_validator(mode="after")
    def _something_to_do(self) -> "IndexingInput":
        work = self.documents or self.corpus or self.delete or self.settings is not None or self.rebuild
        if self.drop and work:
            raise ValueError("`drop` removes the whole collection: give nothing else with it")
        if not self.drop and not work:
            raise ValueError("nothing to do: give `documents`, `corpus`, `delete`, `settings` or `rebuild`")
        return self


class DocumentCounts(BaseModel):
    """The outcome for the documents of one job. `superseded`: a job that was planned later had written them already."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    superseded: int = 0
    deleted: int = 0
    failed: int = 0


class DocumentError(BaseModel):
    """Why one document was refused; the others were indexed."""

    id: str
    code: str
    message: str


class DocumentWarning(BaseModel):
    """What is missing of a document that was indexed."""

    id: str
    code: str
    message: str


class IndexingResult(BaseModel):
    """`chunks`: written by this job. `rebuilt`: documents whose vectors were made again.

    `errors` lists the first 1,000 refused documents, `warnings` the first 1,000 that were indexed without a part.
    """

    collection: str
    documents: DocumentCounts = DocumentCounts()
    chunks: int = 0
    rebuilt: int = 0
    errors: list[DocumentError] = Field(default_factory=list)
    warnings: list[DocumentWarning] = Field(default_factory=list)
