"""Reads one file into one document: what a parser process does with each file it is given."""

from pathlib import Path

from infra.documents.detection import detect
from infra.documents.encodings import decode
from infra.documents.text import read_text
from schemas.retrieval import ParsedDocument


def read_file(path: Path, *, format: str | None, filename: str | None, max_chars: int) -> ParsedDocument:
    """The document of a file. `format` is the declared format, `filename` the file's name before the upload.

    Blocking. Raises `DocumentRefused`; any other error from a library also means that the file is at fault.
    """
    # Each library is imported with the first file that needs it.
    match detect(path, format, filename):
        case "pdf":
            from infra.documents.pdf import read_pdf

            return read_pdf(path, max_chars)
        case "docx":
            from infra.documents.docx import read_docx

            return read_docx(path, max_chars)
        case "hwp":
            from infra.documents.hangul import read_hwp

            return read_hwp(path, max_chars)
        case "hwpx":
            from infra.documents.hangul import read_hwpx

            return read_hwpx(path, max_chars)
        case text:
            return read_text(decode(path.read_bytes(), html=text == "html"), text, max_chars)
