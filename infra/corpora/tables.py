"""Reads the rows of a text corpus (TSV, CSV, JSON Lines) as column -> value; holds only one record in memory."""

import csv
import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Iterator, Mapping, Sequence
from io import TextIOWrapper
from itertools import chain, islice
from typing import IO, Any, Final

from infra.corpora.refusals import MAX_ROW_CHARS, check_columns, too_large, undecodable, unreadable
from schemas.normalisation import nfc

TITLE_LINES: Final = 20
_SAMPLE: Final = 256 * 1024
_SEPARATOR: Final = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def text_records(
    file: IO[bytes], format: str, columns: list[str], optional: Sequence[str] = ()
) -> Iterator[Mapping[str, Any] | str]:
    """Each row by column, or a sentence that says what is wrong with it. Raises `InvalidInput` (see `refusals.py`).

    `columns` must be there, `optional` ones are read if they are. A row of JSON Lines has all its members.
    """
    encoding = _encoding(file)
    # An invalid byte fails its row, not the corpus: it becomes a lone surrogate, which no valid text contains.
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    text = TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
    try:
        if format == "jsonl":
            yield from _json_records(text, columns)
        else:
            yield from _table_records(text, format, columns, optional)
    except UnicodeDecodeError as error:
        raise undecodable(error.encoding) from error
    finally:
        text.detach()


def _encoding(file: IO[bytes]) -> str:
    """UTF-16 by its mark. Else UTF-8, unless most non-ASCII bytes where it first fails are invalid; then CP949."""
    try:
        if file.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE):
            return "utf-16"
        file.seek(0)
        decoder = getincrementaldecoder("utf-8")()
        while piece := file.read(_SAMPLE):
            try:
                decoder.decode(piece)
            except UnicodeDecodeError:
                beyond_ascii = sum(byte > 127 for byte in piece)
                kept = sum(len(c.encode()) for c in piece.decode("utf-8", "ignore") if c > "\x7f")
                # A single truncated character does not mean another encoding.
                return "utf-8-sig" if kept >= 0.8 * beyond_ascii else "cp949"
        return "utf-8-sig"
    finally:
        file.seek(0)


def _json_records(text: TextIOWrapper, columns: list[str]) -> Iterator[Mapping[str, Any] | str]:
    checked = False
    for line in _lines(text):
        if line.strip():
            row = _json_row(line)
            if not isinstance(row, str) and not checked:
                check_columns(columns, row)
                checked = True
            yield row


def _table_records(
    text: TextIOWrapper, format: str, columns: list[str], optional: Sequence[str]
) -> Iterator[Mapping[str, Any] | str]:
    """Each row by column name, or a sentence that says what is wrong with it."""
    lines = _lines(text)
    first = next(lines, "")
    separator = "\t" if format == "tsv" else ","
    # Excel's hint about the separator of a CSV file; it is not a row.
    if told := _SEPARATOR.fullmatch(first):
        separator = told[1]
    else:
        lines = chain([first], lines)
    cells: Iterator[list[str]]
    if format == "csv":
        csv.field_size_limit(MAX_ROW_CHARS)
        cells = csv.reader(_records(lines), delimiter=separator)
    else:
        cells = (_tab_separated(line) for line in lines)
    width = 0
    places: dict[str, int] = {}
    try:
        for row in cells:
            if not any(row):
                continue
            if not places:
                if any(map(_SURROGATE.search, row)):
                    raise undecodable(text.encoding)
                names = _header(row, cells, columns)
                there = [*columns, *(column for column in optional if column in names)]
                width, places = len(names), {column: names.index(column) for column in there}
            elif len(row) != width:
                yield f"it has {len(row)} columns and the header {width}"
            else:
                yield {name: row[at] for name, at in places.items()}
    except csv.Error as error:
        raise unreadable(f"the CSV is truncated: {error}") from error
    if not places:
        raise unreadable("the corpus is empty; its first line must name the columns")


def _header(first: list[str], rest: Iterator[list[str]], columns: list[str]) -> list[str]:
    """The column names: the first of 20 lines that has all `columns`, because spreadsheets have titles above.

    Raises `InvalidInput` (`column_missing`), which lists the names in the first line, when no line has them all.
    """
    for line in chain([first], islice(rest, TITLE_LINES)):
        names = [nfc(name.strip()) for name in line]
        if set(columns) <= set(names):
            check_columns(columns, names)
            return names
    check_columns(columns, [nfc(name) for name in first])
    raise AssertionError("a column is missing")


def _lines(text: TextIOWrapper) -> Iterator[str]:
    number = 0
    while line := text.readline(MAX_ROW_CHARS):
        number += 1
        if len(line) == MAX_ROW_CHARS:
            raise too_large(f"line {number}")
        yield line


def _records(lines: Iterator[str]) -> Iterator[str]:
    """The lines of a CSV file, checked so that an unclosed quotation mark does not join all of them into one record."""
    chars = began = 0
    inside = False
    for number, line in enumerate(lines, start=1):
        if not inside:
            chars, began = 0, number
        chars += len(line)
        inside ^= line.count('"') % 2 == 1
        if chars > MAX_ROW_CHARS:
            raise too_large(f"the record that begins on line {began}")
        yield line


def _tab_separated(line: str) -> list[str]:
    """The cells of a TSV line. TSV has no quoting (IANA text/tab-separated-values), so a quotation mark is text.

    Only a cell that is quoted and holds doubled quotation marks surely came from a CSV writer; it is unquoted.
    """
    return [_unquoted(cell) if '""' in cell else cell for cell in line.rstrip("\r\n").split("\t")]


def _unquoted(cell: str) -> str:
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"':
        return cell
    pieces = cell[1:-1].split('""')
    return cell if any('"' in piece for piece in pieces) else '"'.join(pieces)


def _json_row(line: str) -> Mapping[str, Any] | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"
    if not isinstance(row, dict):
        return "it is JSON, but no object"
    return row if all(map(str.isascii, row)) else {nfc(name): value for name, value in row.items()}
