"""What reads files and submitted texts."""

from pathlib import Path
from typing import Protocol

from schemas.retrieval import ParsedDocument


class DocumentParser(Protocol):
    """Turns an uploaded file or a submitted text into plain text."""

    async def parse(self, source: Path | str, *, format: str | None, filename: str | None) -> ParsedDocument:
        """Plain text, title, headings and pages of a file (`Path`) or of a submitted text (`str`).

        `format` is guessed from `filename` and content when None. What is no plain text is parsed in a process of its
        own, with limits of time and memory. Raises `DocumentRefused` with a code and a remedy.
        """
