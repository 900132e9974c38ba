"""`indexing`: put documents into a collection, or take them out of it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.names import CollectionName, DocumentId, FileId, Title

MAX_DOCUMENTS = 1_000
MAX_DOCUMENT_CHARS = 10_000_000
"""A longer document is refused by itself (`document_too_large`); split it."""

Scalar = str | int | float | bool
Column = Annotated[str, StringConstraints(min_length=1, max_length=200)]
DocumentFormat = Literal["text", "markdown", "html"]


class Document(BaseModel):
    """A document: its text, or an uploaded file that holds it. `format` is guessed from the file's name when absent."""

    model_config = ConfigDict(extra="forbid")

    id: DocumentId
    title: Title | None = None
    text: str | None = None
    file: FileId | None = None
    format: DocumentFormat | None = None
    metadata: dict[str, Scalar] = Field(default_factory=dict, max_length=32)

    @model_validator(mode="after")
    def _one_source(self) -> "Document":
        if (self.text is None) == (self.file is None):
            raise ValueError("give exactly one of `text` and `file`")
        return self


class Corpus(BaseModel):
    """An uploaded table of documents, one a row. Column names refer to the header (TSV, CSV) or to keys (JSONL).

    Without `id`, a row's document id is its 1-based number. `metadata` columns are kept for filters.
    """

    model_config = ConfigDict(extra="forbid")

    file: FileId
    format: Literal["tsv", "csv", "jsonl"]
    text: Column = "text"
    title: Column | None = None
    id: Column | None = None
    metadata: list[Column] = Field(default_factory=list, max_length=32)
    id_prefix: Annotated[str, StringConstraints(max_length=100)] = ""


class Chunking(BaseModel):
    """Windows of whole sentences, `max_chars` characters at most, sharing `overlap_sentences` with the one before."""

    model_config = ConfigDict(extra="forbid")

    max_chars: int = Field(400, ge=50, le=4_000)
    overlap_sentences: int = Field(1, ge=0, le=5)


class IndexingInput(BaseModel):
    """What to index (`documents`, `corpus`, or both) and what to remove (`delete`, document ids)."""

    model_config = ConfigDict(extra="forbid")

    collection: CollectionName
    documents: list[Document] = Field(default_factory=list, max_length=MAX_DOCUMENTS)
    corpus: Corpus | None = None
    delete: list[DocumentId] = Field(default_factory=list, max_length=MAX_DOCUMENTS)
    drop: bool = Field(False, description="Remove the whole collection; nothing else may be given with it.")
    chunking: Chunking = Chunking()

    @model_validator(mode="after")
    def _something_to_do(self) -> "IndexingInput":
        work = bool(self.documents or self.corpus or self.delete)
        if self.drop and work:
            raise ValueError("`drop` removes the whole collection: give nothing else with it")
        if not self.drop and not work:
            raise ValueError("nothing to do: give `documents`, `corpus` or `delete`")
        seen: set[str] = set()
        for position, document in enumerate(self.documents):
            if document.id in seen:
                raise ValueError(f"documents[{position}].id {document.id!r} is given twice; ids must differ")
            seen.add(document.id)
        return self


class DocumentCounts(BaseModel):
    """What became of the documents of one job."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: int = 0


class DocumentError(BaseModel):
    """Why one document was refused; the others were indexed."""

    id: str
    code: str
    message: str


class IndexingResult(BaseModel):
    """`chunks`: written by this job. `errors` lists the first 1,000 refused documents."""

    collection: str
    documents: DocumentCounts = DocumentCounts()
    chunks: int = 0
    errors: list[DocumentError] = Field(default_factory=list)


class PartInput(BaseModel):
    """A child of an indexing job: `part` is the blob key of its documents, one JSON object a line."""

    model_config = ConfigDict(extra="forbid")

    collection: CollectionName
    part: str
    chunking: Chunking


class PartDocument(BaseModel):
    """A line of a part: a document's text, or the blob key of the file that holds it."""

    id: str
    title: str | None = None
    text: str | None = None
    blob: str | None = None
    filename: str | None = None
    format: DocumentFormat | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
