"""Adds up the outcomes of documents, for a part and for a whole indexing job."""

from collections.abc import Iterable, Sequence
from typing import Final

from schemas.kinds.indexing import DocumentError, DocumentWarning, IndexingResult

MAX_ERRORS: Final = 1_000
"""A result lists this many refused documents and counts the rest; it lists as many warnings."""


def refuse(result: IndexingResult, error: DocumentError) -> None:
    """Count a refused document, and list it while there is room."""
    result.documents.failed += 1
    if len(result.errors) < MAX_ERRORS:
        result.errors.append(error)


def warn(result: IndexingResult, document: str, lost: Sequence[str]) -> None:
    """List a document of which this could not be read, while there is room."""
    if lost and len(result.warnings) < MAX_ERRORS:
        why = f"indexed without what could not be read of it: {', '.join(lost[:20])}"
        result.warnings.append(DocumentWarning(id=document, code="content_lost", message=why))


def refuse_dropped(result: IndexingResult, documents: Iterable[str]) -> None:
    """Refuse documents whose collection was dropped while they were being indexed."""
    for document in documents:
        why = f"the collection {result.collection!r} was dropped after this job was planned; submit the document again"
        refuse(result, DocumentError(id=document, code="collection_dropped", message=why))


def add(total: IndexingResult, part: IndexingResult) -> None:
    """Add a part's counts errors and warnings to the total."""
    for name in type(part.documents).model_fields:
        setattr(total.documents, name, getattr(total.documents, name) + getattr(part.documents, name))
    total.chunks += part.chunks
    total.rebuilt += part.rebuilt
    total.errors.extend(part.errors[: MAX_ERRORS - len(total.errors)])
    total.warnings.extend(part.warnings[: MAX_ERRORS - len(total.warnings)])
