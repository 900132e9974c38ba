"""Reads a corpus, a table of documents, row by row: TSV, CSV, JSON Lines or Parquet, of any size, in little memory."""

import csv
import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from io import TextIOWrapper
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

from schemas.errors import DependencyMissing, InvalidInput
from schemas.kinds.indexing import MAX_DOCUMENT_CHARS, Corpus, DocumentError
from schemas.kinds.indexing.parts import PartDocument
from schemas.names import DocumentId

MAX_ROW_CHARS = MAX_DOCUMENT_CHARS + 1_000_000
_ID: TypeAdapter[str] = TypeAdapter(DocumentId)
_SAMPLE = 256 * 1024
PARQUET_ROWS = 64
"""Of a table held at a time: a row may be long, and its pages are in memory beside it."""

PARQUET_BUFFER = 1024 * 1024
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')

Row = PartDocument | DocumentError


def read_rows(file: IO[bytes], corpus: Corpus) -> Iterator[Row]:
    """Each row as a document, or as the reason why it is none (`row_invalid`, `duplicate_id`). Blocking.

    Rows are numbered from 1 after the header, blank lines not counted. Raises `InvalidInput` when a named column does
    not exist (naming those that do) or the file as a whole cannot be read. UTF-8, UTF-16 with a mark, and CP949.
    """
    seen: set[int] = set()
    columns = list(dict.fromkeys([corpus.text, *filter(None, (corpus.title, corpus.id)), *corpus.metadata]))
    records = _parquet_records(file, columns) if corpus.format == "parquet" else _text_records(file, corpus, columns)
    for number, row in enumerate(records, start=1):
        document = _document(row, number, corpus)
        if isinstance(document, PartDocument) and corpus.id is not None:
            # Hashes, not ids: a million of them stay small.
            key = hash(document.id)
            if key in seen:
                document = DocumentError(
                    id=document.id,
                    code="duplicate_id",
                    message=f"row {number} repeats the id of an earlier row; the first one is kept",
                )
            seen.add(key)
        yield document


def _text_records(file: IO[bytes], corpus: Corpus, columns: list[str]) -> Iterator[Mapping[str, Any] | str]:
    text = TextIOWrapper(file, encoding=_encoding(file), newline="")
    checked = False
    try:
        for row in _records(text, corpus.format):
            if isinstance(row, Mapping) and not checked:
                _check_columns(columns, row)
                checked = True
            yield row
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"the corpus is not valid {error.encoding} throughout; save it as UTF-8 and upload it again",
            code="corpus_undecodable",
            field="input.corpus.file",
        ) from error
    finally:
        text.detach()


def _parquet_records(file: IO[bytes], columns: list[str]) -> Iterator[Mapping[str, Any] | str]:
    """Rows of the columns named, decoded page by page: memory does not grow with the row groups."""
    try:
        # Here, not above: this package is large, and few corpora need it.
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DependencyMissing(
            f"a Parquet corpus needs the `cpu` group ({error}): pip install 'welip[cpu]'"
        ) from error
    try:
        table = ParquetFile(file, buffer_size=PARQUET_BUFFER, pre_buffer=False)
        _check_columns(columns, table.schema_arrow.names)
        for batch in table.iter_batches(PARQUET_ROWS, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                yield {name: _plain(value) for name, value in row.items()}
    except (ArrowException, OSError) as error:
        raise _unreadable(f"the corpus is no Parquet table that can be read: {error}"[:500]) from error


def _plain(value: object) -> object:
    """Dates and decimals as texts, as JSON has neither."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _encoding(file: IO[bytes]) -> str:
    sample = file.read(_SAMPLE)
    file.seek(0)
    if sample.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "utf-16"
    try:
        getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return "cp949"
    return "utf-8-sig"


def _records(text: TextIOWrapper, format: str) -> Iterator[Mapping[str, Any] | str]:
    """Each row by column name, or a sentence about what is wrong with it."""
    lines = _lines(text)
    if format == "jsonl":
        yield from (_json_row(line) for line in lines if line.strip())
        return
    cells: Iterator[list[str]]
    if format == "csv":
        csv.field_size_limit(MAX_ROW_CHARS)
        cells = csv.reader(lines)
    else:
        cells = (_tab_separated(line) for line in lines)
    header: list[str] | None = None
    try:
        for row in cells:
            if not any(row):
                continue
            if header is None:
                header = row
            elif len(row) != len(header):
                yield f"it has {len(row)} columns and the header {len(header)}"
            else:
                yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise _unreadable(f"the CSV breaks off: {error}") from error
    if header is None:
        raise _unreadable("the corpus is empty; its first line must name the columns")


def _lines(text: TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MAX_ROW_CHARS):
        if len(line) == MAX_ROW_CHARS:
            raise _unreadable(f"a line of the corpus is longer than {MAX_ROW_CHARS:,} characters")
        yield line


def _tab_separated(line: str) -> list[str]:
    """TSV knows no quoting (IANA text/tab-separated-values), so a quotation mark is text.

    Only a cell that is quoted and holds doubled marks was surely written by a CSV writer and is unquoted.
    """
    cells = line.rstrip("\r\n").split("\t")
    return [m[1].replace('""', '"') if '""' in c and (m := _QUOTED.fullmatch(c)) else c for c in cells]


def _json_row(line: str) -> Mapping[str, Any] | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error}"
    return row if isinstance(row, dict) else "it is JSON, but no object"


def _check_columns(columns: list[str], names: Iterable[str]) -> None:
    known = list(names)
    missing = [column for column in columns if column not in known]
    if missing:
        available = ", ".join(repr(name) for name in known[:50])
        raise InvalidInput(
            f"the corpus has no column {missing[0]!r}; it has {available}", code="column_missing", field="input.corpus"
        )


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
    if not all(isinstance(value, str | int | float | bool) for value in metadata.values()):
        return _invalid(number, "its metadata holds more than texts, numbers and booleans")
    if name is None or isinstance(name, bool) or not isinstance(name, str | int):
        return _invalid(number, f"its {corpus.id!r} is no text or whole number")
    try:
        for value in (text, name, title, *metadata.values()):
            str(value).encode()
        return PartDocument(
            id=_ID.validate_python(f"{corpus.id_prefix}{name}"),
            title=str(title).strip()[:500] or None if title is not None else None,
            text=text,
            metadata=metadata,
        )
    except ValidationError as error:
        return _invalid(number, error.errors()[0]["msg"])
    except UnicodeEncodeError:
        return _invalid(number, "it holds half of a surrogate pair, which is no character")


def _invalid(number: int, why: str) -> DocumentError:
    return DocumentError(id=f"row {number}", code="row_invalid", message=f"row {number} was left out: {why}"[:500])


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput(why, code="corpus_unreadable", field="input.corpus.file")
