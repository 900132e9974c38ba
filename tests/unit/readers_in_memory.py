"""Readers of documents and tables, and a scorer, that need no process of their own."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from consumers.scoring.graders import grades
from consumers.scoring.items import scores
from consumers.stages.ports.scorer import Scored, ToScore
from infra.corpora.examples import read_examples
from infra.corpora.forms import form_of
from infra.corpora.items import read_items
from infra.corpora.rows import read_rows
from schemas.errors import DocumentRefused
from schemas.kinds.dataset import Form
from schemas.kinds.evaluation.graders import Grader
from schemas.kinds.evaluation.items import Dataset, Item, ItemProblem
from schemas.kinds.indexing import Corpus, DocumentError
from schemas.kinds.indexing.parts import PartDocument, PartLine
from schemas.kinds.training import Method
from schemas.kinds.training.examples import Example, ExampleProblem
from schemas.morphemes import Morpheme
from schemas.requester import Requester
from schemas.retrieval import (
    Heading,
    ParsedDocument,
    SubmittedText,
)


class PlainParser:
    """Reads its input as UTF-8. Lines that begin with `#` are headings."""

    async def parse_file(
        self, path: Path, *, format: str | None, filename: str | None, by: Requester
    ) -> ParsedDocument:
        return self._parse(path.read_text())  # noqa: ASYNC240 - small, in a test

    async def parse_texts(
        self, texts: Sequence[SubmittedText], *, by: Requester
    ) -> list[ParsedDocument | DocumentRefused]:
        made: list[ParsedDocument | DocumentRefused] = []
        for given in texts:
            try:
                made.append(self._parse(given.text))
            except DocumentRefused as error:
                made.append(error)
        return made

    def _parse(self, text: str) -> ParsedDocument:
        if not text.strip():
            raise DocumentRefused("no text", code="document_empty")
        headings = [Heading(m.start(), 1, m[1]) for m in re.finditer(r"^# (.*)$", text, re.MULTILINE)]
        return ParsedDocument(text, None, headings)

    async def close(self) -> None:
        return None


class RowsHere:
    """Reads tables in this process, two rows at a time."""

    async def rows(
        self, path: Path, corpus: Corpus, *, by: Requester
    ) -> AsyncGenerator[tuple[list[PartLine | DocumentError], int]]:
        with path.open("rb") as file:
            found = read_rows(file, corpus)
            while batch := list(islice(found, 2)):
                yield (
                    [
                        PartLine(row.id, len(row.text or ""), row.model_dump_json().encode())
                        if isinstance(row, PartDocument)
                        else row
                        for row in batch
                    ],
                    file.tell(),
                )

    async def items(
        self, path: Path, dataset: Dataset, format: str, *, by: Requester
    ) -> AsyncGenerator[list[Item | ItemProblem]]:
        with path.open("rb") as file:
            found = read_items(file, dataset, format)
            while batch := list(islice(found, 2)):
                yield batch

    async def form(self, path: Path, dataset: Dataset, format: str, *, by: Requester) -> Form:
        with path.open("rb") as file:
            return form_of(file, dataset, format)

    async def examples(
        self, path: Path, method: Method, format: str, *, by: Requester
    ) -> AsyncGenerator[tuple[list[Example | ExampleProblem], int]]:
        with path.open("rb") as file:
            found = read_examples(file, method, format)
            while batch := list(islice(found, 2)):
                yield batch, file.tell()


class ScorerHere:
    """Scores answers in this process."""

    async def score(
        self,
        answers: Sequence[ToScore],
        graders: Sequence[Grader],
        morphemes: Mapping[str, Sequence[Morpheme]],
        *,
        by: Requester,
    ) -> list[Scored]:
        return [
            scores(one.names, one.item, one.given, morphemes.get) | grades(graders, one.item, one.given, one.contexts)
            for one in answers
        ]
