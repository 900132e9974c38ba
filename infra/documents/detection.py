"""Detects a file's format from its content; the file name and declared format only tell text formats apart."""

import re
from pathlib import Path, PurePosixPath
from typing import Final
from zipfile import BadZipFile, ZipFile

import olefile

from infra.documents.encodings import looks_binary
from infra.documents.refusals import refused
from schemas.errors import DocumentRefused

TEXTS: Final = {
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
"""The formats that can be told apart only by the extension of the file name."""

_BINARY: Final = frozenset({".pdf", ".docx", ".doc", ".hwp", ".hwpx"})
"""Extensions that are wrong for a text but not unusual: exports to Word are often HTML."""

_SAMPLE: Final = 64 * 1024
_HTML: Final = re.compile(
    # Possessive: otherwise n comments that could end in several places would cost 2^n.
    rb"(?:\xef\xbb\xbf)?\s*+(?:<\?xml[^>]{0,200}>\s*+)?+(?:<!--(?>.{0,2000}?-->)\s*+)*+<(?:!doctype\s+)?html\b",
    re.I | re.S,
)
_OTHERS: Final = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "an RTF document"),
    (b"PAR1", "a Parquet table, which is indexed as a corpus,"),
    (b"HWP Document File V3", "a document of Hangul 97 or older"),
)


def detect(path: Path, declared: str | None, filename: str | None) -> str:
    """The format of a file. `declared` is the format that its owner stated.

    Raises `DocumentRefused`: `document_empty`, `document_format_unknown`, `document_damaged`, `document_encrypted`.
    """
    with path.open("rb") as file:
        head = file.read(_SAMPLE)
    if not head:
        raise refused("document_empty", "the file is empty")
    binary = _binary(path, head)
    if binary is not None:
        return binary
    if looks_binary(head):
        raise _unknown("its content is not text")
    return text_format(declared, filename, head)


def text_format(declared: str | None, filename: str | None, head: bytes = b"") -> str:
    """The format of what is certainly text: the declared one, else the file name's, else HTML if it looks so."""
    if declared is not None:
        if declared not in TEXTS.values():
            raise _unknown(f"it was named {declared!r}, but its content is text")
        return declared
    suffix = PurePosixPath(filename).suffix.lower() if filename else ""
    if suffix in TEXTS:
        return TEXTS[suffix]
    if suffix and suffix not in _BINARY:
        raise _unknown(f"a text file ending in {suffix!r} is of no known format")
    return "html" if _HTML.match(head) else "text"


def _binary(path: Path, head: bytes) -> str | None:
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path)
    if head.startswith(olefile.MAGIC):
        return _compound(path)
    # ISO 32000-1, annex H: readers look for the header in the first 1,024 bytes.
    if b"%PDF-" in head[:1024]:
        return "pdf"
    for magic, name in _OTHERS:
        if head.startswith(magic):
            raise _unknown(f"it is {name}")
    return None


def _zipped(path: Path) -> str:
    try:
        with ZipFile(path) as archive:
            names = set(archive.namelist())
            mimetype = archive.open("mimetype").read(100) if "mimetype" in names else b""
    except (BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError) as error:
        raise refused(
            "document_damaged", f"the file begins like a ZIP archive (DOCX, HWPX), but cannot be read as one: {error}"
        ) from error
    if b"hwp+zip" in mimetype or "Contents/header.xml" in names:
        return "hwpx"
    if "word/document.xml" in names or any(re.fullmatch(r"word/document\d*\.xml", name) for name in names):
        return "docx"
    for prefix, name in (("xl/", "an Excel workbook"), ("ppt/", "a PowerPoint presentation")):
        if any(member.startswith(prefix) for member in names):
            raise _unknown(f"it is {name}")
    raise _unknown("it is a ZIP archive, but no document")


def _compound(path: Path) -> str:
    """What a Compound File (MS-CFB) holds: HWP 5, an encrypted Office document, or an old Office document."""
    try:
        with olefile.OleFileIO(path) as storage:
            if storage.exists("FileHeader"):
                return "hwp"
            if storage.exists("EncryptedPackage"):
                raise refused("document_encrypted", "the document is protected by a password")
            for stream, name in (
                ("WordDocument", "an old Word document (.doc)"),
                ("Workbook", "an old Excel workbook (.xls)"),
                ("PowerPoint Document", "an old PowerPoint presentation (.ppt)"),
            ):
                if storage.exists(stream):
                    raise _unknown(f"it is {name}")
    except (DocumentRefused, MemoryError):
        raise
    except Exception as error:
        raise refused("document_damaged", f"the file begins like HWP, but is truncated: {error}") from error
    raise _unknown("it is a Compound File of another program")


def _unknown(why: str) -> DocumentRefused:
    return refused("document_format_unknown", why)
