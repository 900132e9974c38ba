"""A fan-out is checked before it is recorded: the parent's error names whatever is wrong with a child."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from consumers import fan_out
from consumers.fan_out import FEW, Wait, lane_of, wait
from infra.postgres.queries.claim import Claimed
from infra.postgres.queries.submit import NewJob
from schemas.errors import CarryInvalid, FanOutRefused, StageUnknown
from schemas.kinds.inference import InferenceInput
from schemas.kinds.kind import Step
from schemas.kinds.noop import NoopInput
from schemas.kinds.registry import KINDS
from schemas.models import WITHOUT_MODELS, Models, OpenAIModel
from schemas.outcomes import Child, ChildStream, FanOut
from schemas.topics import Lane

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROW = Claimed(
    id=UUID(int=7), tenant="t", kind="noop", stage="run", lane="interactive", model=None, epoch=3, attempt=1,
    max_attempts=9, timeout_s=4.0, input="{}", carry=None, error=None, rounds=0, traceparent="trace", created_at=NOW,
    started_at=NOW, worker="w", claimed_at=NOW,
)  # fmt: skip
OK = Child("noop", NoopInput(), key="ok")


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Step:
    """`noop`, allowed to make children of its own kind and questions."""
    parent = replace(KINDS["noop"], children=frozenset({"noop", "inference"}))
    monkeypatch.setitem(KINDS, "noop", parent)  # type: ignore[arg-type]
    return Step(parent, "run")


async def made(found: Wait) -> list[NewJob]:
    return [child async for page in found.pages() for child in page]


async def test_a_child_of_its_own_kind_has_the_limits_of_its_parent_and_another_its_own_kinds(step: Step) -> None:
    question = InferenceInput(collection="c", question="왜?")
    given = [Child("noop", {"steps": 2}, key="가"), Child("inference", question, key="q", lane=Lane.BULK)]
    found = wait(ROW, step, FanOut(given, "run"), WITHOUT_MODELS)
    assert (found.id, found.epoch, found.then, found.carry) == (ROW.id, 3, "run", None)
    own, other = await made(found)
    assert (own.parent, own.round) == (ROW.id, ROW.rounds + 1)
    assert (own.kind, own.stage, own.tenant, own.lane, own.key) == ("noop", "run", "t", "interactive", "가")
    assert (own.max_attempts, own.timeout_s, own.traceparent) == (9, 4.0, "trace")
    assert json.loads(own.input) == {"sleep_s": 0.0, "steps": 2}
    assert (other.kind, other.stage, other.lane, other.key) == ("inference", "retrieve", "bulk", "q")
    assert (other.max_attempts, other.timeout_s) == (5, None)
    assert InferenceInput.model_validate_json(other.input) == question


async def test_a_child_knows_its_model_and_one_of_a_model_that_is_not_there_is_refused(step: Step) -> None:
    models = Models((OpenAIModel(name="first", engine="openai", url="http://h"), *WITHOUT_MODELS))

    def child(**asked: Any) -> Child:
        return Child("inference", {"collection": "c", "question": "왜?", **asked}, key="q")

    async def model(**asked: Any) -> str | None:
        [one] = await made(wait(ROW, step, FanOut([child(**asked)], "run"), models))
        return one.model

    assert await model() == "default"
    assert await model(generate={"model": "first"}) == "first"
    assert await model(generate=None) is None
    with pytest.raises(FanOutRefused, match="'gone' is not here; models for 'answers': first, default") as refused:
        await model(generate={"model": "gone"})
    assert (refused.value.reason, refused.value.field) == ("child_input_invalid", "input.generate.model")


@pytest.mark.parametrize(
    ("child", "code"),
    [
        (Child("nobody", {}, key="k"), "child_kind_unknown"),
        (Child("indexing", {}, key="k"), "child_kind_not_allowed"),
        (Child("inference", {}, key="k", stage="generate"), "child_stage_invalid"),
        (Child("inference", {}, key="k", stage="nowhere"), "child_stage_invalid"),
        (Child("noop", {"steps": 0}, key="k"), "child_input_invalid"),
        (Child("noop", {"unheard": 0}, key="k"), "child_input_invalid"),
        (Child("noop", InferenceInput(collection="c", question="왜?"), key="k"), "child_input_invalid"),
        (Child("inference", InferenceInput.model_construct(question="\ud800"), key="k"), "child_input_invalid"),
        (Child("noop", {}, key=""), "child_key_invalid"),
        (Child("noop", {}, key="k" * 201), "child_key_invalid"),
        (Child("noop", {}, key="a\0b"), "child_key_invalid"),
        (Child("noop", {}, key="\ud800"), "child_key_invalid"),
        (Child("noop", {}, key="ok"), "child_key_repeated"),
    ],
)
def test_a_child_that_is_not_allowed_is_refused_by_name(step: Step, child: Child, code: str) -> None:
    with pytest.raises(FanOutRefused) as caught:
        wait(ROW, step, FanOut([OK, child], "run"), WITHOUT_MODELS)
    assert (caught.value.reason, caught.value.retryable) == (code, False)
    if "key" not in code:
        assert "'k'" in caught.value.message
    caught.value.message.encode()  # as when it is stored


def test_the_field_of_a_child_that_does_not_fit_is_told(step: Step) -> None:
    with pytest.raises(FanOutRefused, match=r"child 'k' does not fit stage noop.run: input.steps: ") as caught:
        wait(ROW, step, FanOut([Child("noop", {"steps": 0}, key="k")], "run"), WITHOUT_MODELS)
    assert caught.value.field == "input.steps"


def test_too_many_children_are_refused(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "MAX_CHILDREN", 1)
    with pytest.raises(FanOutRefused) as caught:
        wait(ROW, step, FanOut([OK, replace(OK, key="another")], "run"), WITHOUT_MODELS)
    assert caught.value.reason == "too_many_children"


def test_what_the_parent_goes_on_with_is_checked_too(step: Step) -> None:
    with pytest.raises(StageUnknown, match="no stage 'dance'"):
        wait(ROW, step, FanOut([OK], "dance"), WITHOUT_MODELS)
    with pytest.raises(CarryInvalid):
        wait(ROW, step, FanOut([OK], "run", {"a": 1}), WITHOUT_MODELS)


async def test_children_of_a_stream_are_read_when_they_are_recorded_and_again_when_that_is_repeated(step: Step) -> None:
    read: list[str] = []

    async def each() -> AsyncIterator[Child]:
        for n in range(2_500):
            read.append(str(n))
            yield Child("noop", NoopInput(), key=str(n), max_attempts=2, timeout_s=9)

    found = wait(ROW, step, FanOut(ChildStream(2_500, each), "run"), WITHOUT_MODELS)
    assert (read, found.count) == ([], 2_500)
    for _ in range(2):
        pages = [page async for page in found.pages()]
        assert [len(page) for page in pages] == [1_000, 1_000, 500]
        assert [child.key for page in pages for child in page] == [str(n) for n in range(2_500)]
    assert len(read) == 5_000
    assert {(child.max_attempts, child.timeout_s, child.lane) for child in pages[0]} == {(2, 9.0, "bulk")}


@pytest.mark.parametrize(("count", "keys", "code"), [(3, "ab", "children_miscounted"), (2, "aa", "child_key_repeated")])
async def test_a_stream_that_is_not_as_announced_is_refused_while_it_is_read(
    step: Step, count: int, keys: str, code: str
) -> None:
    async def each() -> AsyncIterator[Child]:
        for key in keys:
            yield Child("noop", NoopInput(), key=key)

    found = wait(ROW, step, FanOut(ChildStream(count, each), "run"), WITHOUT_MODELS)
    with pytest.raises(FanOutRefused) as caught:
        await made(found)
    assert caught.value.reason == code


INTERACTIVE, BULK = Lane.INTERACTIVE, Lane.BULK


@pytest.mark.parametrize(
    ("child", "whole", "parent", "count", "lane"),
    [
        (None, None, INTERACTIVE, FEW, INTERACTIVE),
        (None, None, INTERACTIVE, FEW + 1, BULK),
        (None, None, BULK, 1, BULK),
        (None, INTERACTIVE, INTERACTIVE, 10_000, INTERACTIVE),
        (None, BULK, INTERACTIVE, 1, BULK),
        (INTERACTIVE, BULK, BULK, 10_000, INTERACTIVE),
    ],
)
def test_a_handful_stays_interactive_and_a_flood_does_not(
    child: Any, whole: Any, parent: Any, count: int, lane: Lane
) -> None:
    assert lane_of(child, whole, parent, count) is lane
