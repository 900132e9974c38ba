"""Datasets to train on, row by row: what is an example, and what is said of a row that is none."""

import io
import json
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from infra.corpora.examples import read_examples
from schemas.errors import InvalidInput
from schemas.kinds.training import Method
from schemas.kinds.training.examples import Example, ExampleProblem


def read(data: bytes | str, method: Method = "sft", format: str = "jsonl") -> list[Example | ExampleProblem]:
    return list(read_examples(io.BytesIO(data.encode() if isinstance(data, str) else data), method, format))


def lines(*rows: Any) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def said(row: Any, method: Method = "sft") -> str:
    [problem] = read(lines(row), method)
    assert isinstance(problem, ExampleProblem)
    return problem.message


USER, ANSWER = {"role": "user", "content": "질문"}, {"role": "assistant", "content": "답"}


def test_texts_and_turns_make_the_same_example() -> None:
    texts, turns, chat = read(
        lines(
            {"prompt": "질문", "completion": "답"},
            {"prompt": [USER], "completion": [ANSWER]},
            {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "답"}]}]},
        )
    )
    assert isinstance(texts, Example)
    assert texts.line() == b'{"prompt":[{"role":"user","content":"\xec\xa7\x88\xeb\xac\xb8"}],' + (
        b'"completion":[{"role":"assistant","content":"\xeb\x8b\xb5"}]}\n'
    )
    assert {one.line() for one in (texts, turns, chat) if isinstance(one, Example)} == {texts.line()}


def test_a_conversation_makes_an_example_of_each_answer() -> None:
    system = {"role": "developer", "content": "짧게"}
    found = read(lines({"messages": [system, USER, ANSWER, USER, ANSWER]}, {"prompt": "a", "completion": "b"}))
    assert [(one.row, len(one.prompt)) for one in found if isinstance(one, Example)] == [(1, 2), (1, 4), (2, 1)]
    assert isinstance(found[0], Example)
    assert found[0].prompt[0].role == "system"


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_a_pair_has_a_prompt_or_begins_alike(method: Method) -> None:
    other = {"role": "assistant", "content": "틀림"}
    named, whole = read(
        lines(
            {"prompt": "질문", "chosen": "답", "rejected": "틀림"},
            {"chosen": [USER, ANSWER], "rejected": [USER, other]},
        ),
        method,
    )
    assert isinstance(named, Example)
    assert isinstance(whole, Example)
    assert named.line() == whole.line()


def test_labels_are_read_from_tables_too() -> None:
    good, bad = read("prompt,completion,label\na,b,True\nc,d,0\n", "kto", "csv")
    assert isinstance(good, Example)
    assert isinstance(bad, Example)
    assert (good.label, bad.label) == (True, False)


def test_parquet_holds_turns_as_lists() -> None:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"messages": [[USER, ANSWER]], "beside": [1]}), sink)
    [one] = read(sink.getvalue(), format="parquet")
    assert isinstance(one, Example)
    assert one.completion is not None
    assert one.completion[0].content == "답"


@pytest.mark.parametrize(
    ("row", "method", "reason"),
    [
        ({"text": "x"}, "sft", "lacks, or leaves empty, `prompt` and `completion`"),
        ({"prompt": "x", "completion": ""}, "sft", "`completion`"),
        ({"prompt": "x", "completion": "  "}, "sft", "turn 1 of its `completion` is empty"),
        ({"messages": [USER]}, "sft", "hold no answer"),
        ({"messages": []}, "sft", "no list of turns"),
        ({"messages": [ANSWER]}, "sft", "turn 1 of its `messages` answers no question"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "sft", "turn 2 of its `messages` is empty"),
        ({"messages": [USER, {**ANSWER, "tool_calls": [1]}]}, "sft", "calls tools"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "sft", "its role"),
        ({"messages": ["x"]}, "sft", "no object with `role` and `content`"),
        ({"prompt": [ANSWER], "completion": "x"}, "sft", "does not end with a user's turn"),
        ({"prompt": "x", "completion": [USER]}, "sft", "not the assistant's"),
        ({"prompt": "x", "completion": "\ud800"}, "sft", "invalid bytes"),
        ({"prompt": "x", "chosen": "a", "rejected": "a"}, "dpo", "are the same"),
        ({"chosen": "a", "rejected": "b"}, "dpo", "lacks `prompt`"),
        ({"chosen": [USER, ANSWER], "rejected": [ANSWER]}, "orpo", "do not begin with the same turn"),
        ({"prompt": "x", "completion": "y"}, "kto", "`label`"),
        ({"prompt": "x", "completion": "y", "label": "perhaps"}, "kto", "neither true nor false"),
        ([1], "sft", "no object"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(row: Any, method: Method, reason: str) -> None:
    message = said(row, method)
    assert message.startswith("row 1: ")
    assert reason in message


def test_one_bad_line_among_many_is_named() -> None:
    good = json.dumps({"prompt": "a", "completion": "b"})
    problems = [
        one for one in read("\n".join([good] * 4_000 + ["{"] + [good] * 1_000)) if isinstance(one, ExampleProblem)
    ]
    assert [(one.row, one.message.partition(":")[0]) for one in problems] == [(4_001, "row 4001")]


def test_a_file_that_is_no_table_is_refused_in_the_words_of_a_dataset() -> None:
    with pytest.raises(InvalidInput) as refused:
        read(b"PAR1 no parquet", format="parquet")
    assert (refused.value.reason, refused.value.field) == ("dataset_unreadable", "input.dataset")
