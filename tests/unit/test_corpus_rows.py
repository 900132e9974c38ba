"""A corpus as offices save it (one bad byte, other encodings, titles above the header) and as an attacker makes it."""

import io
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.corpora.rows import read_rows
from schemas.errors import InvalidInput
from schemas.kinds.indexing import Corpus, DocumentError
from schemas.kinds.indexing.parts import PartDocument

MiB = 1024**2


def read(data: bytes, format: str = "csv", **columns: Any) -> tuple[list[PartDocument], list[DocumentError]]:
    given = Corpus.model_validate({"file": "file_" + "0" * 32, "format": format, **columns})
    found = list(read_rows(io.BytesIO(data), given))
    return (
        [row for row in found if isinstance(row, PartDocument)],
        [row for row in found if isinstance(row, DocumentError)],
    )


def refusal(data: bytes, format: str = "csv", **columns: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(data, format, **columns)
    return caught.value.reason


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_one_bad_byte_fails_its_row_alone(encoding: str, format: str) -> None:
    separator = "\t" if format == "tsv" else ","
    lines = [f"r{n}{separator}제{n}조 출장 여비의 지급 기준".encode(encoding) for n in range(7)]
    lines[5] = f"r5{separator}".encode() + "가".encode(encoding)[:-1] + b"\xff"
    documents, errors = read(f"id{separator}text\n".encode() + b"\n".join(lines), format, id="id")
    assert [document.id for document in documents] == ["r0", "r1", "r2", "r3", "r4", "r6"]
    assert [(error.id, error.code) for error in errors] == [("row 6", "row_invalid")]


def test_korean_may_come_late() -> None:
    rows = "".join(f"e{n},plain english row number {n} with some words\n" for n in range(12_000))
    documents, errors = read(f"id,text\n{rows}k,한글은 끝에 있다\n".encode("cp949"), id="id")
    assert (len(documents), errors) == (12_001, [])
    assert documents[-1].text == "한글은 끝에 있다"


@pytest.mark.parametrize(
    "data",
    [
        "sep=,\nid,text\n1,한라산\n",
        "\ufeffsep=;\r\nid;text\r\n1;한라산\r\n",
        '"sep=\t"\nid\ttext\n1\t한라산\n',
        "2024년 관광지 현황\n\n기준일,2024-01-01\nid,text\n1,한라산\n",
        " id , text \n1,한라산\n",
    ],
)
def test_lines_above_the_header_are_not_rows(data: str) -> None:
    documents, errors = read(data.encode(), id="id")
    assert ([(one.id, one.text) for one in documents], errors) == ([("1", "한라산")], [])


def test_columns_are_known_in_either_unicode_form() -> None:
    import unicodedata

    apart = unicodedata.normalize("NFD", "번호,본문,부서\n1,한라산,총무팀\n").encode()
    (document,), _ = read(apart, text="본문", id="번호", metadata=["부서"])
    assert document.metadata == {"부서": "총무팀"}


def test_an_implausible_header_is_refused() -> None:
    assert refusal("id,text,text\nr1,본문,비고\n".encode(), id="id") == "column_repeated"
    assert refusal("제목뿐\n가\n나\n".encode()) == "column_missing"
    assert refusal(b"id,name\n1,2\n", id="id") == "column_missing"
    assert refusal(bytes(range(128, 256)) * 50) == "corpus_undecodable"
    twice = pa.Table.from_arrays([pa.array(["가"])] * 2, names=["text", "text"])
    assert refusal(parquet(twice), "parquet") == "column_repeated"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("data", [b'id,text\n1,"' + (b"x" * 99 + b"\n") * 160_000, b"id,text\n1," + b"x" * 12_000_000])
def test_a_record_has_an_end(data: bytes) -> None:
    tracemalloc.start()
    try:
        assert refusal(data, id="id") == "record_too_large"
        assert tracemalloc.get_traced_memory()[1] < 200 * MiB
    finally:
        tracemalloc.stop()


CELLS: dict[str, Callable[[], pa.Array]] = {
    "a date beyond the year 9999": lambda: pa.array([2**62, 0], pa.timestamp("us")),
    "a duration beyond Python's": lambda: pa.array([2**62, None], pa.duration("s")),
    "no number": lambda: pa.array([float("nan"), 1.0]),
    "no end": lambda: pa.array([float("inf"), 1.0]),
    "broken UTF-8": lambda: pa.array([b"\xff\xfe", b"ab"]).view(pa.string()),
    "an object": lambda: pa.array([{"a": 1}, None]),
}


@pytest.mark.parametrize("name", CELLS)
def test_an_odd_cell_fails_its_row_alone(name: str) -> None:
    documents, errors = read(parquet(pa.table({"text": ["가", "나"], "m": CELLS[name]()})), "parquet", metadata=["m"])
    assert [document.text for document in documents] == ["나"]
    assert [error.code for error in errors] == ["row_invalid"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("store_schema", [True, False])
def test_a_table_that_unpacks_out_of_proportion_is_refused(store_schema: bool) -> None:
    """A kilobyte with 2,000 rows that share one value of ten megabytes unpacks to 20 GB of text."""
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), pa.array(["가" * 3_300_000]))
    data = parquet(
        pa.table({"text": shared}),
        compression="zstd",
        store_schema=store_schema,
        dictionary_pagesize_limit=2**31 - 1,
        write_statistics=False,
    )
    assert len(data) < 10_000
    highest = 0

    def chars() -> Iterator[int]:
        nonlocal highest
        given = Corpus.model_validate({"file": "file_" + "0" * 32, "format": "parquet"})
        for row in read_rows(io.BytesIO(data), given):
            highest = max(highest, pa.total_allocated_bytes())
            yield len(row.text or "") if isinstance(row, PartDocument) else 0

    found: list[int] = []
    with pytest.raises(InvalidInput) as caught:
        found.extend(chars())
    assert caught.value.reason == "corpus_bomb"
    assert sum(found) < 60_000_000
    assert highest < 500 * MiB
