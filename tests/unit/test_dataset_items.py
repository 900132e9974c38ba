"""Datasets of evaluations, row by row: what is an item, what is wrong with a row, what makes a table unusable."""

import io
import json
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from infra.corpora.items import read_items
from schemas.errors import InvalidInput
from schemas.kinds.evaluation.items import Dataset, Item, ItemProblem

FILE = f"file_{'0' * 32}"


def read(data: bytes | str, format: str, **columns: Any) -> list[Item | ItemProblem]:
    data = data.encode() if isinstance(data, str) else data
    return list(read_items(io.BytesIO(data), Dataset(file=FILE, **columns), format))


def lines(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


WHOLE = {
    "id": "a",
    "question": " 한라산의 높이는? ",
    "reference": ["1,947미터", "1947m"],
    "relevant": ["d1", 7],
    "answerable": True,
    "document": "d1",
    "metadata": {"kind": "number"},
}


def test_a_line_with_everything_is_an_item() -> None:
    [item] = read(lines(WHOLE), "jsonl")
    assert item == Item(
        id="a",
        row=1,
        question="한라산의 높이는?",
        references=["1,947미터", "1947m"],
        relevant=["d1", "7"],
        document="d1",
        metadata={"kind": "number"},
    )


def test_a_question_alone_is_an_item_with_its_row_as_id() -> None:
    first, second = read(lines({"question": "하나?"}, {"question": "둘?", "reference": None, "relevant": []}), "jsonl")
    assert (first.row, second.row) == (1, 2)
    assert isinstance(second, Item)
    assert (second.id, second.references, second.relevant, second.answerable) == ("2", [], [], True)


@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_columns_of_a_table_may_have_other_names(format: str) -> None:
    by = "\t" if format == "tsv" else ","
    table = f"ID{by}질문{by}정답{by}answerable{by}분야\n3{by}무엇?{by}답{by}FALSE{by}역사\n"
    [item] = read(table, format, question="질문", reference="정답", id="ID", metadata=["분야"])
    assert isinstance(item, Item)
    assert (item.id, item.references, item.answerable, item.metadata) == ("3", ["답"], False, {"분야": "역사"})


def test_parquet_has_lists_and_a_struct() -> None:
    file = io.BytesIO()
    row = {"question": "무엇?", "reference": ["답"], "relevant": ["d"], "metadata": {"n": 3}}
    parquet.write_table(pyarrow.Table.from_pylist([row]), file)
    [item] = read(file.getvalue(), "parquet")
    assert isinstance(item, Item)
    assert (item.references, item.relevant, item.metadata) == (["답"], ["d"], {"n": 3})


def test_a_cell_of_text_may_hold_a_json_list_of_ids() -> None:
    [item] = read('question,relevant\n무엇?,"[""d1"", ""d2""]"\n', "csv")
    assert isinstance(item, Item)
    assert item.relevant == ["d1", "d2"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": 3}, "its 'question' is a number, not a text"),
        ({"question": None}, "its 'question' is missing"),
        ({"question": "  "}, "its question: String should have at least 1 character"),
        ({"question": "?", "reference": 2013}, "its 'reference' is a number, not a text"),
        ({"question": "?", "reference": ["a", True]}, "its 'reference' is a boolean, not a text"),
        ({"question": "?", "reference": {"a": 1}}, "its 'reference' is an object, not a text"),
        ({"question": "?", "relevant": [1.5]}, "its 'relevant' holds something that is no document's id"),
        ({"question": "?", "relevant": "[d1"}, "its 'relevant' begins like a JSON list and is none"),
        ({"question": "?", "answerable": "maybe"}, "its answerable is neither true nor false"),
        ({"question": "?", "id": []}, "its id is neither a text nor a whole number"),
        ({"question": "?", "metadata": {"a": []}}, "its metadata holds more than texts, numbers and booleans"),
        ({"question": "?", "metadata": {"a": float("nan")}}, "its metadata holds a number that is not finite"),
        ({"question": "?", "metadata": {"a": "\ud800"}}, "its metadata: Input should be a valid string"),
        ({"question": "\ud800"}, "its 'question' contains invalid bytes"),
        ({"question": "?" * 8_001}, "its question: String should have at most 8000 characters"),
    ],
)
def test_a_wrong_cell_is_named_with_its_row(row: dict[str, Any], said: str) -> None:
    good, bad, after = read(lines({"question": "?"}, row, {"question": "?"}), "jsonl")
    assert isinstance(good, Item)
    assert isinstance(after, Item)
    assert isinstance(bad, ItemProblem)
    assert (bad.row, bad.code) == (2, "row_invalid")
    assert bad.message.startswith(f"row 2: {said}")


def test_a_number_beyond_64_bits_is_kept_as_a_fraction() -> None:
    [item] = read(lines({"question": "?", "metadata": {"n": 2**70}}), "jsonl")
    assert isinstance(item, Item)
    assert item.metadata == {"n": float(2**70)}


def test_what_is_no_json_object_is_a_problem_of_its_row() -> None:
    found = read('{"question": "?"}\n[1]\nnot json\n', "jsonl")
    assert [getattr(one, "message", "") for one in found][1] == "row 2: it is JSON, but no object"
    assert getattr(found[2], "message", "").startswith("row 3: it is not JSON")


def test_a_repeated_id_names_both_rows() -> None:
    _, again = read(lines({"id": "a", "question": "?"}, {"id": "a", "question": "!?"}), "jsonl")
    assert isinstance(again, ItemProblem)
    assert (again.code, again.message) == ("id_repeated", "row 2: it repeats the id 'a' of row 1")


@pytest.mark.parametrize(
    ("data", "format", "columns", "code", "said"),
    [
        ("a,b\n1,2\n", "csv", {}, "column_missing", "the dataset has no column 'question'; it has 'a', 'b'"),
        ('{"q": "?"}', "jsonl", {}, "column_missing", "the dataset has no column 'question'; it has 'q'"),
        ("question\n?\n", "csv", {"reference": "정답"}, "column_missing", "the dataset has no column '정답'"),
        (b"PAR1", "parquet", {}, "dataset_unreadable", "the dataset is not a readable Parquet table"),
        ("", "csv", {}, "dataset_unreadable", "the dataset is empty"),
        ("\ufeffquestion\n?".encode("utf-16-le")[:-1], "csv", {}, "dataset_undecodable", "not valid utf-16"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_the_words_of_a_dataset(
    data: bytes | str, format: str, columns: dict[str, str], code: str, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        read(data, format, **columns)
    assert refused.value.reason == code
    assert (refused.value.field or "").startswith("input.dataset")
