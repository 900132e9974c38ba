"""Reads a corpus, a table of documents, row by row: TSV, CSV, JSON Lines or Parquet, of any size, in little memory."""

import math
from collections.abc import Iterator, Mapping
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

from infra.corpora.parquet import parquet_records
from infra.corpora.refusals import MAX_ROW_CHARS
from infra.corpora.tables import text_records
from schemas.kinds.indexing import MAX_DOCUMENT_CHARS, Corpus, DocumentError
from schemas.kinds.indexing.parts import PartDocument
from schemas.names import DocumentId
from schemas.normalisation import nfc

_ID: TypeAdapter[str] = TypeAdapter(DocumentId)

Row = PartDocument | DocumentError


def read_rows(file: IO[bytes], corpus: Corpus) -> Iterator[Row]:
    """Each row as a document, or as the reason why it is not one (`row_invalid`, `duplicate_id`). Blocking.

    Rows are numbered from 1 after the header; blank lines do not count. Reads UTF-8, UTF-16 with a byte order mark,
    and CP949. Raises `InvalidInput` when a named column does not exist (the error lists those that do), or when the
    file as a whole cannot be read.
    """
    seen: set[int] = set()
    columns = list(dict.fromkeys([corpus.text, *filter(None, (corpus.title, corpus.id)), *corpus.metadata]))
    parquet = corpus.format == "parquet"
    records = parquet_records(file, columns) if parquet else text_records(file, corpus.format, columns)
    for number, row in enumerate(records, start=1):
        document = _document(row, number, corpus)
        if isinstance(document, PartDocument) and corpus.id is not None:
            # Hashes instead of ids, so that a million of them stay small.
            key = hash(document.id)
            if key in seen:
                document = DocumentError(
                    id=document.id,
                    code="duplicate_id",
                    message=f"row {number} repeats the id of an earlier row; the first one is kept",
                )
            seen.add(key)
        yield document


def _document(row: Mapping[str, Any] | str, number: int, corpus: Corpus) -> Row:
    if isinstance(row, str):
        return _invalid(number, row)
    text = row.get(corpus.text)
    if not isinstance(text, str):
        return _invalid(number, f"its {corpus.text!r} is no text")
    if len(text) > MAX_ROW_CHARS:
        return _invalid(number, f"its {corpus.text!r} has {len(text):,} characters, {MAX_DOCUMENT_CHARS:,} are allowed")
    name = number if corpus.id is None else row.get(corpus.id)
    title = row.get(corpus.title) if corpus.title else None
    metadata = {column: row[column] for column in corpus.metadata if row.get(column) is not None}
    metadata = {column: nfc(value) if isinstance(value, str) else value for column, value in metadata.items()}
    if not all(isinstance(value, str | int | float | bool) for value in metadata.values()):
        return _invalid(number, "its metadata holds more than texts, numbers and booleans")
    if any(isinstance(value, float) and not math.isfinite(value) for value in metadata.values()):
        return _invalid(number, "its metadata holds a number that is not finite")
    if name is None or isinstance(name, bool) or not isinstance(name, str | int):
        return _invalid(number, f"its {corpus.id!r} is not text or a whole number")
    try:
        for value in (text, name, title, *metadata.values()):
            str(value).encode()
        return PartDocument(
            id=_ID.validate_python(f"{corpus.id_prefix}{name}"),
            title=nfc(str(title).strip())[:500] or None if title is not None else None,
            text=text,
            metadata=metadata,
        )
    except ValidationError as error:
        return _invalid(number, error.errors()[0]["msg"])
    except UnicodeEncodeError:
        return _invalid(number, "it contains invalid bytes")


def _invalid(number: int, why: str) -> DocumentError:
    return DocumentError(id=f"row {number}", code="row_invalid", message=f"row {number} was left out: {why}"[:500])
