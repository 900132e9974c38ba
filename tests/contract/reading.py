"""Samples of every format, read in this process, or refused with a code and a remedy."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.documents.detection import text_format
from infra.documents.files import read_file
from infra.documents.refusals import REMEDIES
from infra.documents.text import read_text
from schemas.errors import DocumentRefused
from schemas.retrieval import ParsedDocument
from tests.documents import sample_files

MAX_CHARS = 10_000_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return sample_files(tmp_path_factory.mktemp("samples"))


def read(path: Path, format: str | None = None, filename: str | None = None) -> ParsedDocument:
    return read_file(path, format=format, filename=filename or path.name, max_chars=MAX_CHARS)


def parse(text: str, format: str | None = None, filename: str | None = None) -> ParsedDocument:
    return read_text(text, text_format(format, filename), MAX_CHARS)


@contextlib.contextmanager
def refusal(code: str) -> Iterator[None]:
    """The block must be refused with this code and a remedy."""
    with pytest.raises(DocumentRefused) as caught:
        yield
    assert caught.value.reason == code, caught.value.message
    assert caught.value.message.endswith(REMEDIES[code])
