"""What `welip index` is given: which paths are tables and which documents, and the ids they get."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from producers.client.cli.failures import WrongUse

CORPUS_FORMATS: Final = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
DOCUMENT_FORMATS: Final = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".hwp": "hwp",
    ".hwpx": "hwpx",
}
TEXTUAL: Final = frozenset({"text", "markdown", "html"})
"""Formats whose files may travel as text inside the request."""

FORMATS: Final = tuple(dict.fromkeys((*CORPUS_FORMATS.values(), *DOCUMENT_FORMATS.values())))


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document file, the id it gets and its format. `told`: the user named the format, so it is not guessed."""

    path: Path
    id: str
    format: str
    told: bool = False


@dataclass(frozen=True, slots=True)
class FoundCorpus:
    """A table with one document per row. `id`: its name among other tables; `named`: given explicitly."""

    path: Path
    id: str
    format: str
    named: bool


@dataclass(slots=True)
class Sources:
    """What was found. `skipped`: how many files in folders have an unsupported extension."""

    corpora: list[FoundCorpus] = field(default_factory=list)
    documents: list[FoundDocument] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def said_skipped(self) -> str | None:
        """The files that were left out, as one sentence."""
        if not self.skipped:
            return None
        endings = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in self.skipped.most_common())
        return f"left out of the folders, for their endings are not read: {endings}"


def discover(paths: Iterable[Path], format: str | None) -> Sources:
    """Classify the paths; folders are searched for supported files, except hidden ones. Raises `WrongUse`.

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
        endings = ", ".join((*DOCUMENT_FORMATS, *CORPUS_FORMATS))
        raise WrongUse("no document found", f"a folder is searched for {endings}")
    _check_ids(found.documents)
    return found


def _add_folder(found: Sources, folder: Path) -> None:
    for file in _walk(folder):
        suffix = file.suffix.lower()
        name = document_id(file.relative_to(folder).as_posix())
        if (kind := DOCUMENT_FORMATS.get(suffix)) is not None:
            found.documents.append(FoundDocument(file, name, kind))
        elif (kind := CORPUS_FORMATS.get(suffix)) is not None:
            found.corpora.append(FoundCorpus(file, name, kind, named=False))
        else:
            found.skipped[suffix] += 1


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def _add_file(found: Sources, path: Path, format: str | None) -> None:
    suffix = path.suffix.lower()
    kind = format or CORPUS_FORMATS.get(suffix) or DOCUMENT_FORMATS.get(suffix)
    if kind is None:
        raise WrongUse(f"what {path} holds is not clear from its name", f"say --format {'|'.join(FORMATS)}")
    name = document_id(path.name)
    if kind in CORPUS_FORMATS.values():
        found.corpora.append(FoundCorpus(path, name, kind, named=True))
    else:
        found.documents.append(FoundDocument(path, name, kind, told=format is not None))


def document_id(name: str) -> str:
    """The id for a path: Unicode form NFC, because only macOS spells Korean file names in another form."""
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
