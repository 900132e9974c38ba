"""Reads the rows of a Parquet corpus as column -> value; holds only a few rows and their dictionaries in memory."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from io import SEEK_END
from typing import IO, Any, Final

from infra.corpora.refusals import check_columns, out_of_proportion, unreadable
from schemas.errors import DependencyMissing
from schemas.normalisation import nfc

PARQUET_ROWS: Final = 64
"""How many rows are held at a time: each may be long, and its pages are in memory as well."""

PARQUET_BUFFER: Final = 1024 * 1024
MAX_RATIO: Final = 150
"""How many times its own size a table may unpack to; archives of documents have the same limit."""

SMALL_CHARS: Final = 50_000_000
"""Size limit: up to this much, any compression ratio is fine."""

BATCH_BYTES: Final = 128 * 1024**2
"""Limit for a batch's values that come from a dictionary, in bytes."""


def parquet_records(
    file: IO[bytes], columns: list[str], optional: Sequence[str] = ()
) -> Iterator[Mapping[str, Any] | str]:
    """Rows with the named columns, decoded page by page, so that memory does not grow with the row groups.

    `columns` must be there, `optional` ones are read if they are.

    Raises `InvalidInput` (`corpus_bomb`) when the decoded data is out of proportion to the file.
    """
    try:
        # Imported here, not above: the package is large, and few corpora need it.
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DependencyMissing(
            f"a Parquet corpus needs the `cpu` group ({error}): pip install 'welip[cpu]'"
        ) from error
    allowed = MAX_RATIO * file.seek(0, SEEK_END) + SMALL_CHARS
    file.seek(0)
    try:
        table = ParquetFile(file, buffer_size=PARQUET_BUFFER, pre_buffer=False)
        names = {nfc(name): name for name in table.schema_arrow.names}
        check_columns(columns, [nfc(name) for name in table.schema_arrow.names])
        given = [names[column] for column in [*columns, *(one for one in optional if one in names)]]
        for batch in _batches(table, given):
            for at in range(batch.num_rows):
                row = _cells_of(batch, at)
                if not isinstance(row, str):
                    allowed -= sum(len(value) for value in row.values() if isinstance(value, str | bytes))
                if allowed < 0:
                    raise out_of_proportion("it unpacks to far more than it is")
                yield row
    except MemoryError:  # Arrow's own is one of its exceptions, too
        raise
    except (ArrowException, OSError) as error:
        raise unreadable(f"the corpus is not a readable Parquet table: {error}"[:500]) from error


def _cells_of(batch: Any, at: int) -> Mapping[str, Any] | str:
    """A row by column, or why it cannot be read: dates beyond Python's, unknown time zones, broken UTF-8."""
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[nfc(name)] = _plain(column[at].as_py())
        except Exception as error:  # noqa: BLE001 - whatever a library makes of a cell is that row's fault
            return f"its {name!r} cannot be read ({type(error).__name__})"
    return row


def _batches(table: Any, names: list[str]) -> Iterator[Any]:
    """A few rows at a time, because each may hold an unpacked copy of the largest value in its column's dictionary."""
    for group in range(table.metadata.num_row_groups):
        largest = max(
            (_dictionary_bytes(chunk) for chunk in _chunks(table.metadata.row_group(group), names)), default=0
        )
        rows = max(1, min(PARQUET_ROWS, BATCH_BYTES // max(largest, 1)))
        yield from table.iter_batches(rows, row_groups=[group], columns=names, use_threads=False)


def _chunks(group: Any, names: list[str]) -> Iterator[Any]:
    for at in range(group.num_columns):
        chunk = group.column(at)
        if chunk.path_in_schema in names or chunk.path_in_schema.split(".")[0] in names:
            yield chunk


def _dictionary_bytes(chunk: Any) -> int:
    """An upper bound for the size of one value in the chunk's dictionary. Raises `InvalidInput` (`corpus_bomb`)."""
    large, packed = chunk.total_uncompressed_size, max(1, chunk.total_compressed_size)
    if large > SMALL_CHARS and large > MAX_RATIO * packed:
        raise out_of_proportion(f"{packed:,} bytes of a column unpack to {large:,}")
    return large if chunk.has_dictionary_page else 0


def _plain(value: object) -> object:
    """Dates and decimals become strings, because JSON has neither."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
