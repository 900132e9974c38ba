"""Adds up the outcomes of documents, for a part and for a whole indexing job."""

from collections.abc import Iterable
from typing import Final

from schemas.kinds.indexing import DocumentError, IndexingResult

MAX_ERRORS: Final = 1_000
"""A result lists this many refused documents and counts the rest."""


def refuse(result: IndexingResult, error: DocumentError) -> None:
    """Count a refused document, and list it while there is room."""
    result.documents.failed += 1
    if len(result.errors) < MAX_ERRORS:
        result.errors.append(error)


def refuse_dropped(result: IndexingResult, documents: Iterable[str]) -> None:
    """Refuse documents whose collection was dropped while they were being indexed."""
    for document in documents:
        why = f"the collection {result.collection!r} was dropped after this job was planned; submit the document again"
        refuse(result, DocumentError(id=document, code="collection_dropped", message=why))


def add(total: IndexingResult, part: IndexingResult) -> None:
    """Add a part's counts and errors to the total."""
    for name in type(part.documents).model_fields:
        setattr(total.documents, name, getattr(total.documents, name) + getattr(part.documents, name))
    total.chunks += part.chunks
    total.rebuilt += part.rebuilt
    total.errors.extend(part.errors[: MAX_ERRORS - len(total.errors)])
