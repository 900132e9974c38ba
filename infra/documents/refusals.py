"""Why documents are refused: one code per cause, with what the owner can do about it."""

from collections.abc import Mapping
from typing import Final

from schemas.errors import DocumentRefused

REMEDIES: Final[Mapping[str, str]] = {
    "document_bomb": "save it again with the program that made it, or split it",
    "document_damaged": "open it with the program that made it, save it again and upload the new file",
    "document_distribution": "ask its author for the original, or print it to a PDF and upload that",
    "document_empty": "give it some text, or leave it out",
    "document_encrypted": "save it without a password or protection and upload that",
    "document_format_unknown": "documents are text, Markdown, HTML, PDF, DOCX, HWP or HWPX:"
    " convert it, or name its `format` if the file's name misleads",
    "document_garbled": "run optical character recognition (OCR) on it, or export it again from its source",
    "document_no_text": "it needs optical character recognition (OCR) first: upload the text that gives",
    "document_timeout": "split it, save it again, or raise WELIP_PARSER_TIMEOUT",
    "document_too_deep": "check what made it",
    "document_too_large": "split it",
    "document_undecodable": "save it as UTF-8 and upload it again",
}


def refused(code: str, why: str) -> DocumentRefused:
    """The error for a refused document; `why` is the reason, `code` one of `REMEDIES`."""
    return DocumentRefused(f"{why}; {REMEDIES[code]}", code=code)
