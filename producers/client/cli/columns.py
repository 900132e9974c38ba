"""The columns of a table that `welip index` is given: which hold the text, the title, the id and metadata."""

import csv
import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from producers.client.cli.failures import WrongUse

TEXT_COLUMNS: Final = frozenset({"text", "content", "body", "본문", "내용"})
"""Names, in lower case, of columns that are taken for the text of a document."""


def read_columns(path: Path, format: str) -> list[str]:
    """The names in the header of a table, or the keys of its first object. Raises `WrongUse`.

    Read as the server reads it: UTF-8, CP949, or UTF-16 with a mark; TSV knows no quoting.
    """
    if format == "parquet":
        return _parquet_columns(path)
    with path.open("rb") as start:
        marked = start.read(2) in {BOM_UTF16_LE, BOM_UTF16_BE}
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "cp949"):
        try:
            with path.open(encoding=encoding, newline="") as file:
                lines = (line for line in file if line.strip())
                if format == "csv":
                    return next(csv.reader(lines), [])
                first = next(lines, "").rstrip("\r\n")
                if format == "tsv":
                    return first.split("\t")
                row = json.loads(first or "{}")
                return list(row) if isinstance(row, dict) else []
        except UnicodeError:
            continue
        except (json.JSONDecodeError, csv.Error) as error:
            raise WrongUse(f"{path} is not {format}: {error}", "say --format when its name misleads") from error
    raise WrongUse(f"{path} is neither UTF-8 nor CP949 text", "convert it to UTF-8")


def _parquet_columns(path: Path) -> list[str]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise WrongUse(
            f"the columns of {path.name} cannot be read here: pyarrow is not installed",
            "pip install pyarrow, or upload the file and submit a job of kind `indexing` with its columns",
        ) from None
    try:
        return list(parquet.read_schema(path).names)
    except (ArrowException, OSError) as error:
        raise WrongUse(f"{path} is not parquet: {error}", "say --format when its name misleads") from error


def choose_columns(
    path: Path, format: str, *, text: str | None, title: str | None, id: str | None, metadata: Sequence[str]
) -> dict[str, object]:
    """The columns as a submission names them, each one checked against the header. Raises `WrongUse`."""
    columns = read_columns(path, format)
    there = ", ".join(columns) or "none"
    if text is None:
        candidates = [name for name in columns if name.casefold() in TEXT_COLUMNS]
        if len(candidates) != 1:
            raise WrongUse(f"which column of {path.name} holds the text? It has: {there}", "say --text-column NAME")
        text = candidates[0]
    for name in filter(None, [text, title, id, *metadata]):
        if name not in columns:
            raise WrongUse(f"{path.name} has no column {name!r}; it has: {there}")
    chosen: dict[str, object] = {"format": format, "text": text}
    chosen |= {"title": title} if title else {}
    chosen |= {"id": id} if id else {}
    return chosen | ({"metadata": list(metadata)} if metadata else {})
