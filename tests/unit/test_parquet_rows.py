"""A Parquet corpus gives the same rows as a text one, in memory that does not grow with the corpus."""

import io
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.corpora.rows import read_rows
from schemas.errors import InvalidInput
from schemas.kinds.indexing import Corpus, DocumentError
from schemas.kinds.indexing.parts import PartDocument
from tests.documents import SAMPLES, rows, write_corpus

MiB = 1024**2


def corpus(**columns: Any) -> Corpus:
    return Corpus(file="file_0192f6a0c0de7000800000000000beef", format="parquet", **columns)


def read(table: pa.Table, **columns: Any) -> list[PartDocument | DocumentError]:
    file = io.BytesIO()
    pq.write_table(table, file)
    return list(read_rows(file, corpus(**columns)))


@pytest.mark.parametrize("format", ["tsv", "csv", "jsonl", "parquet"])
def test_every_corpus_format_gives_the_same_documents(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"corpus.{format}"
    written = rows(SAMPLES["parquet"])
    write_corpus(path, written)
    given = Corpus(file=corpus().file, format=format, id="id", title="title")  # type: ignore[arg-type]
    with path.open("rb") as file:
        found = list(read_rows(file, given))
        assert not file.closed
    assert found == [PartDocument(id=row["id"], title=row["title"], text=row["text"]) for row in written]


def test_metadata_keeps_its_types_and_dates_are_texts() -> None:
    row = {"text": "글", "n": 3, "x": 0.5, "yes": True, "day": date(2026, 3, 1), "none": None}
    row |= {"at": datetime(2026, 3, 1, 9, 30), "price": Decimal("12.50")}
    (found,) = read(pa.Table.from_pylist([row]), metadata=[name for name in row if name != "text"])
    assert isinstance(found, PartDocument)
    assert found.metadata == {
        "n": 3,
        "x": 0.5,
        "yes": True,
        "day": "2026-03-01",
        "at": "2026-03-01T09:30:00",
        "price": "12.50",
    }


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(InvalidInput, match=r"no column 'body'; it has 'text', 'id'") as caught:
        read(pa.table({"text": ["글"], "id": ["a"]}), text="body")
    assert caught.value.reason == "column_missing"


def test_rows_that_are_no_documents_are_refused_one_by_one() -> None:
    found = read(pa.table({"text": ["하나", None, "셋", "넷"], "id": ["a", "b", None, "a"]}), id="id")
    assert [getattr(row, "code", "kept") for row in found] == ["kept", "row_invalid", "row_invalid", "duplicate_id"]


def test_a_column_of_other_things_is_no_text() -> None:
    found = read(pa.table({"text": [["목록"]], "id": [{"a": 1}]}), id="id")
    assert [getattr(row, "code", "kept") for row in found] == ["row_invalid"]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"text,id\n1,2\n"])
def test_what_is_no_table_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        list(read_rows(io.BytesIO(data), corpus()))
    assert caught.value.reason == "corpus_unreadable"


def test_damage_in_the_middle_is_refused() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": [f"글 {number}" for number in range(20_000)]}), file, use_dictionary=False)
    file.getbuffer()[200:20_000] = bytes(19_800)
    with pytest.raises(InvalidInput) as caught:
        list(read_rows(file, corpus()))
    assert caught.value.reason == "corpus_unreadable"


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    text = "등대는 바닷길을 밝힌다. " * 60
    table = pa.table({"text": [f"{number} {text}" for number in range(40_000)]})
    pq.write_table(table, path, row_group_size=40_000, use_dictionary=False)
    size = table.nbytes
    del table
    before = pa.total_allocated_bytes()
    highest = 0
    with path.open("rb") as file:
        for number, _ in enumerate(read_rows(file, corpus())):
            if number % 64 == 0:
                highest = max(highest, pa.total_allocated_bytes() - before)
    assert size > 64 * MiB
    assert 0 < highest < 16 * MiB
