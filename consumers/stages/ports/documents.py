"""Reads files and submitted texts."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from schemas.errors import DocumentRefused
from schemas.requester import Requester
from schemas.retrieval import ParsedDocument, SubmittedText


class DocumentParser(Protocol):
    """Turns uploaded files and submitted texts into plain text, in processes with limits that are killed on cancel."""

    async def parse_file(
        self, path: Path, *, format: str | None, filename: str | None, by: Requester
    ) -> ParsedDocument:
        """Plain text, title, headings and pages of a file.

        `format` is guessed from content and `filename` when None. Raises `DocumentRefused` with a code and a remedy.
        """

    async def parse_texts(
        self, texts: Sequence[SubmittedText], *, by: Requester
    ) -> list[ParsedDocument | DocumentRefused]:
        """The same for each text, or the reason for its refusal."""


class LongDocuments(Protocol):
    """Shares out the memory of long documents, so that no number of them takes a worker's."""

    def turn(self, by: Requester) -> AbstractAsyncContextManager[None]:
        """Hold one in memory, as soon as there is room. A job holds one turn at a time: it may wait for another's."""
