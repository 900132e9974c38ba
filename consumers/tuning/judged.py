"""Documents, and questions whose documents are known: the input of tuning and measuring, read from tables."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

from producers.client.cli.columns import read_columns
from producers.client.cli.failures import WrongUse

FORMATS: Final = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_BETWEEN_IDS: Final = re.compile(r"[,;\s]+")
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class JudgedDocument:
    """A document as it would be indexed."""

    id: str
    title: str | None
    text: str


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    """A question and the ids of the documents that answer it, one at least."""

    text: str
    relevant: frozenset[str]


@dataclass(frozen=True, slots=True)
class Judged:
    """A corpus without repetitions, and its questions. `repeated` documents were equal to an earlier one."""

    documents: Sequence[JudgedDocument]
    questions: Sequence[JudgedQuestion]
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns. Without `relevant`, a question's own row, by its `text`, is what answers it.

    Without `id`, documents are numbered by row, after the name of their table where there are several.
    """

    text: str = "text"
    question: str = "question"
    title: str | None = None
    id: str | None = None
    relevant: str | None = None


def read_judged(corpora: Sequence[Path], questions: Path, columns: Columns) -> Judged:
    """All documents and questions. Raises `WrongUse` for a column, text or id that is not there."""
    documents: dict[tuple[str | None, str], JudgedDocument] = {}
    ids: dict[str, JudgedDocument] = {}
    by_text: dict[str, set[str]] = {}
    for path in corpora:
        _require(path, columns.text, columns.title, columns.id)
        for number, row in enumerate(_rows(path), start=1):
            text = _cell(row, columns.text)
            title = _cell(row, columns.title) or None if columns.title else None
            if not text.strip() and title is None:
                continue
            name = (
                _cell(row, columns.id) if columns.id else f"{path.stem}/{number}" if len(corpora) > 1 else str(number)
            )
            # Equal documents would take each other's places: the first stands for all.
            kept = documents.setdefault((title, text), JudgedDocument(name, title, text))
            if ids.setdefault(name, kept) is not kept:
                raise WrongUse(f"{path} has two documents with the id {name!r}", "name a column of unique ids")
            by_text.setdefault(text, set()).add(kept.id)
    found = _questions(questions, columns, {name: document.id for name, document in ids.items()}, by_text)
    return Judged(list(documents.values()), found, len(ids) - len(documents))


def _questions(
    path: Path, columns: Columns, ids: Mapping[str, str], by_text: Mapping[str, set[str]]
) -> list[JudgedQuestion]:
    _require(path, columns.question, columns.relevant or columns.text)
    found: list[JudgedQuestion] = []
    lost: list[str] = []
    for row in _rows(path):
        question = _cell(row, columns.question).strip()
        if not question:
            continue
        if columns.relevant:
            named = _ids(row.get(columns.relevant), ids)
            lost += [one for one in named if one not in ids]
            relevant = {ids[one] for one in named if one in ids}
        else:
            text = _cell(row, columns.text)
            relevant = by_text.get(text, set())
            lost += [] if relevant else [text[:40]]
        if relevant:
            found.append(JudgedQuestion(question, frozenset(relevant)))
    if lost:
        shown = ", ".join(repr(one) for one in lost[:_SHOWN]) + (", ..." if len(lost) > _SHOWN else "")
        raise WrongUse(
            f"{len(lost)} documents that {path} calls relevant are not in the corpus: {shown}",
            "give every table of the corpus, and the column of its ids",
        )
    if not found:
        raise WrongUse(f"{path} holds no question with a relevant document")
    return found


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value)


def _ids(value: Any, known: Mapping[str, str]) -> list[str]:
    """Ids in a cell: a list, a JSON list as text, one id, or several between commas, semicolons or blanks."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(json.JSONDecodeError):
            value = json.loads(value)
    if isinstance(value, list):
        return [str(one) for one in value]
    text = "" if value is None else str(value).strip()
    return [text] if text in known else [one for one in _BETWEEN_IDS.split(text) if one]


def _require(path: Path, *columns: str | None) -> None:
    if path.suffix.lower() not in FORMATS:
        raise WrongUse(f"{path} is not a readable table", f"one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise WrongUse(f"there is no file {path}")
    there = read_columns(path, FORMATS[path.suffix.lower()])
    for name in columns:
        if name is not None and name not in there:
            raise WrongUse(f"{path} has no column {name!r}; it has: {', '.join(there) or 'none'}")


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows by column name, as indexing reads them: UTF-8 or CP949, and TSV knows no quoting. Raises `WrongUse`."""
    if FORMATS[path.suffix.lower()] == "parquet":
        from pyarrow import parquet

        yield from parquet.read_table(path).to_pylist()
        return
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp949", "replace")
    lines = (line.rstrip("\r") for line in text.split("\n") if line.strip())
    match FORMATS[path.suffix.lower()]:
        case "jsonl":
            for number, line in enumerate(lines, start=1):
                row = _object(line)
                if row is None:
                    raise WrongUse(f"row {number} of {path} is not a JSON object")
                yield row
        case "tsv":
            header = next(lines, "").split("\t")
            yield from (dict(zip(header, line.split("\t"), strict=False)) for line in lines)
        case _:
            csv.field_size_limit(2**31 - 1)
            yield from csv.DictReader(StringIO(text, newline=""))


def _object(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
