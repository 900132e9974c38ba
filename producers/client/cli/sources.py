"""What `welip index` is given: which paths are tables and which documents, their ids, and the columns that count."""

import csv
import json
import os
import unicodedata
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from producers.client.cli.failures import WrongUse

CORPUS_FORMATS: Final = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
DOCUMENT_FORMATS: Final = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
}
FORMATS: Final = ("tsv", "csv", "jsonl", "text", "markdown", "html")
TEXT_COLUMNS: Final = frozenset({"text", "content", "body", "본문", "내용"})
"""Names, in lower case, of columns that are taken for the text of a document."""


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document file, the id it gets and its format."""

    path: Path
    id: str
    format: str


@dataclass(slots=True)
class Sources:
    """What was found. `skipped`: files in folders that are no documents."""

    corpora: list[tuple[Path, str]] = field(default_factory=list)
    documents: list[FoundDocument] = field(default_factory=list)
    skipped: int = 0


def discover(paths: Iterable[Path], format: str | None) -> Sources:
    """Sort the paths out; folders are searched for documents, hidden files left out. Raises `WrongUse`.

    A document's id is its path below the folder that was given, or the file's name.
    """
    if format is not None and format not in FORMATS:
        raise WrongUse(f"--format {format!r} is not known", f"one of {', '.join(FORMATS)}")
    found = Sources()
    for path in paths:
        if path.is_dir():
            _add_folder(found, path)
        elif path.is_file():
            _add_file(found, path, format)
        else:
            raise WrongUse(f"there is no file or folder {path}")
    if not found.corpora and not found.documents:
        raise WrongUse("no document found", f"a folder is searched for {', '.join(DOCUMENT_FORMATS)}")
    _check_ids(found.documents)
    return found


def _add_folder(found: Sources, folder: Path) -> None:
    for file in _walk(folder):
        if (kind := DOCUMENT_FORMATS.get(file.suffix.lower())) is None:
            found.skipped += 1
        else:
            found.documents.append(FoundDocument(file, document_id(file.relative_to(folder).as_posix()), kind))


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def _add_file(found: Sources, path: Path, format: str | None) -> None:
    suffix = path.suffix.lower()
    kind = format or CORPUS_FORMATS.get(suffix) or DOCUMENT_FORMATS.get(suffix)
    if kind is None:
        raise WrongUse(f"what {path} holds cannot be told from its name", f"say --format {'|'.join(FORMATS)}")
    if kind in CORPUS_FORMATS.values():
        found.corpora.append((path, kind))
    else:
        found.documents.append(FoundDocument(path, document_id(path.name), kind))


def document_id(name: str) -> str:
    """The id for a path: Unicode form NFC, because macOS spells Korean file names in another form than all others."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def _check_ids(documents: Sequence[FoundDocument]) -> None:
    seen: dict[str, Path] = {}
    for document in documents:
        if document.id in seen:
            raise WrongUse(
                f"{seen[document.id]} and {document.path} would both become document {document.id!r}",
                "index the folder that holds both, or one at a time into different collections",
            )
        seen[document.id] = document.path


def read_columns(path: Path, format: str) -> list[str]:
    """The names in the header of a table, or the keys of its first object. Raises `WrongUse`.

    Read as the server reads it: UTF-8, CP949, or UTF-16 with a mark; TSV knows no quoting.
    """
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
