"""What processes read from tables is stored unread, and checked by whoever uses it."""

from typing import Any

import pytest

from consumers.stages.indexing.lines import part_document
from infra.corpora.reader import _rows
from infra.isolation.pool import Broke
from schemas.errors import InvalidInput
from schemas.kinds.indexing import DocumentError
from schemas.kinds.indexing.parts import PartDocument, PartInput, PartLine

DOCUMENT = PartDocument(id="d", text="글")
LINE = DOCUMENT.model_dump_json().encode()
REFUSED = DocumentError(id="row 2", code="row_invalid", message="row 2 was left out")


def part(*, rows: bool) -> PartInput:
    return PartInput(collection="c", part="p", version=1, rows=rows)


def test_rows_come_as_the_lines_they_are() -> None:
    answer = {"accepted": [True, False], "documents": [("d", 1)], "read": 9}
    payload = LINE + b"\n" + REFUSED.model_dump_json().encode()
    assert _rows((answer, payload)) == ([PartLine("d", max(1, len(LINE) // 6), LINE), REFUSED], 9)
    assert part_document(LINE, part(rows=True)) == DOCUMENT


@pytest.mark.parametrize(
    "wrong",
    [
        {"accepted": [True]},
        {"accepted": [True, True], "documents": [("d", 1), ("e", 1)]},
        {"accepted": [True], "documents": []},
        {"accepted": [True], "documents": [("d",)]},
        {"accepted": [True], "documents": [(3, 1)]},
        {"accepted": [True], "documents": [("d", "1")]},
        {"accepted": [False], "documents": []},
    ],
)
def test_what_makes_no_sense_ends_the_corpus(wrong: dict[str, Any]) -> None:
    with pytest.raises(Broke):
        _rows(({"read": 1, **wrong}, LINE))


def test_no_row_passes_for_much_shorter_than_it_is() -> None:
    (row,), _ = _rows(({"accepted": [True], "documents": [("d", 0)], "read": 1}, b"x" * 600))
    assert isinstance(row, PartLine)
    assert row.chars == 100


@pytest.mark.parametrize(
    "line",
    [
        PartDocument(id="d", blob="theirs/files/1").model_dump_json().encode(),
        PartDocument(id="d", text="글", blob="theirs/files/1").model_dump_json().encode(),
        PartDocument(id="d").model_dump_json().encode(),
        b"{",
        b"\xff",
    ],
)
def test_a_row_that_no_table_can_have_names_no_blob_of_others(line: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        part_document(line, part(rows=True))
    assert caught.value.reason == "corpus_unreadable"


def test_a_file_of_a_submission_is_read_from_its_blob() -> None:
    document = PartDocument(id="d", blob="t/files/1", filename="a.txt")
    assert part_document(document.model_dump_json().encode(), part(rows=False)) == document
