"""The first stage of `training`: rows are checked and split, and what cannot be trained is refused at once."""

from typing import Any

import pytest
from pydantic import ValidationError

from consumers.stages.ports import Deployment
from consumers.stages.registry import stage
from schemas.errors import (
    NotFound,
)
from schemas.kinds.training import TrainingInput
from schemas.remarks import Remark
from tests.unit.ports_in_memory import World
from tests.unit.scripted_trainer import MODELS, asked, dataset, prepared, refused, rows


async def test_a_dataset_is_split_without_duplicates_and_always_alike() -> None:
    data = dataset(*map(asked, range(200)), asked(3), asked(3))
    world, carry = await prepared(data)
    report = carry.data
    assert (report.duplicates, report.rows + report.validation_rows) == (2, 200)
    assert 5 <= report.validation_rows <= 40
    train, held = rows(world, carry.train), rows(world, carry.validation)
    assert not [one for one in held if one in train]
    assert Remark(sentence="repeated", values={"count": 2}) in carry.remarks
    again, carry = await prepared(data)
    assert rows(again, carry.validation) == held


async def test_examples_of_one_question_stay_on_one_side() -> None:
    both = [{"prompt": f"질문 {n}", "completion": said} for n in range(60) for said in ("하나", "둘")]
    world, carry = await prepared(dataset(*both), validation_share=0.5)
    sides = [{one["prompt"][0]["content"] for one in rows(world, key)} for key in (carry.train, carry.validation)]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


async def test_what_is_in_the_validation_file_is_not_trained_on() -> None:
    world, carry = await prepared(dataset(*map(asked, range(10))), held=dataset(asked(1), asked(77), asked(1)))
    assert carry.data.model_dump(include={"rows", "validation_rows", "overlapping", "duplicates"}) == {
        "rows": 9,
        "validation_rows": 2,
        "overlapping": 1,
        "duplicates": 1,
    }
    assert [one["prompt"][0]["content"] for one in rows(world, carry.validation)] == ["질문 1", "질문 77"]


async def test_wrong_rows_are_named_and_counted() -> None:
    wrong = [{"prompt": "x"}] * 14
    error = await refused(dataset(asked(1), *wrong))
    assert (error.reason, error.field) == ("dataset_invalid", "input.dataset")
    assert error.message.startswith("14 rows are not usable: row 2: ")
    assert error.message.count("row ") == 10
    assert error.message.endswith("; ...")


@pytest.mark.parametrize(
    ("data", "name", "changes", "code", "field"),
    [
        (b"", "a.jsonl", {}, "dataset_empty", "input.dataset"),
        (dataset(asked(1)), "a.doc", {}, "dataset_format_unknown", "input.format"),
        (dataset(asked(1)), "a.jsonl", {"held": dataset(asked(1))}, "dataset_empty", "input.dataset"),
        (dataset(asked(1)), "a.jsonl", {"held": dataset({"prompt": "x"})}, "dataset_invalid", "input.validation"),
        (dataset(asked(1)), "a.jsonl", {"base_model": "nobody"}, "model_not_found", "input.base_model"),
        (dataset(asked(1)), "a.jsonl", {"base_model": "elsewhere"}, "base_not_trainable", "input.base_model"),
        (
            dataset(asked(1)),
            "a.jsonl",
            {"base_model": "plain", "register_as": "x"},
            "adapter_not_servable",
            "input.register_as",
        ),
        (
            dataset(asked(1)),
            "a.jsonl",
            {"base_model": "large", "register_as": "x", "hyperparameters": {"rank": 32}},
            "adapter_not_servable",
            "input.hyperparameters.rank",
        ),
    ],
)
async def test_what_cannot_be_trained_is_refused_before_anything_is(
    data: bytes, name: str, changes: dict[str, Any], code: str, field: str
) -> None:
    error = await refused(data, name, **changes)
    assert (error.reason, error.field, error.retryable) == (code, field, False)


async def test_a_file_that_is_not_there_is_named() -> None:
    world = World()
    ports = world.ports
    ports.deployment = Deployment(models=MODELS)
    given = {"base_model": "small", "dataset": f"file_{'0' * 32}"}
    with pytest.raises(NotFound, match="upload the dataset"):
        await stage("training", "prepare")(world.job("training", "prepare", given), ports)


@pytest.mark.parametrize("adapter", ["dora", "full"])
def test_what_engines_do_not_serve_cannot_be_registered(adapter: str) -> None:
    with pytest.raises(ValidationError, match="the engines serve no adapter of the kind"):
        TrainingInput.model_validate({"dataset": f"file_{'0' * 32}", "adapter": adapter, "register_as": "mine"})
