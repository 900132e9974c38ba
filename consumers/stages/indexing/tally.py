"""Adds up what became of documents, for a part and for a whole indexing job."""

from typing import Final

from schemas.kinds.indexing import DocumentError, IndexingResult

MAX_ERRORS: Final = 1_000
"""A result lists this many refused documents and counts the rest."""


def refuse(result: IndexingResult, error: DocumentError) -> None:
    """Count a refused document, and list it while there is room."""
    result.documents.failed += 1
    if len(result.errors) < MAX_ERRORS:
        result.errors.append(error)


def add(total: IndexingResult, part: IndexingResult) -> None:
    """Add a part's counts and errors to the total."""
    for name in type(part.documents).model_fields:
        setattr(total.documents, name, getattr(total.documents, name) + getattr(part.documents, name))
    total.chunks += part.chunks
    total.errors.extend(part.errors[: MAX_ERRORS - len(total.errors)])
