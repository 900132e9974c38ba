"""A claimed job is opened for its stage, which gets models; what does not fit is an error that names its field."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from consumers.opening import opened
from infra.postgres.queries.claim import Claimed
from schemas.errors import CarryInvalid, InvalidInput, StageUnknown
from schemas.kinds.indexing.parts import PartInput, RebuildInput
from schemas.kinds.inference import Resumed
from schemas.kinds.registry import KINDS
from tests.unit.test_fan_out_checks import ROW
from tests.unit.texts_in_memory import Kept

QUESTION = '{"collection": "c", "question": "왜?"}'
PART = PartInput(collection="c", part="p", version=1)
REBUILD = RebuildInput(collection="c", generation=2, after="", last="z")


async def silent(done: int, total: int, message: str | None) -> None:
    """Ignore progress."""


def row(kind: str, stage: str, input: str | BaseModel, carry: str | None = None) -> Claimed:
    text = input if isinstance(input, str) else input.model_dump_json()
    return ROW._replace(kind=kind, stage=stage, input=text, carry=carry)


def test_a_stage_is_given_models() -> None:
    brought = '{"embedder": "e", "timings_ms": {"queue": 1.5}, "embedding": {"dense": [0.5], "learned": null}}'
    step, job = opened(row("inference", "retrieve", QUESTION, brought), silent, Kept())
    assert (step.label, job.kind, job.stage, job.epoch) == ("inference.retrieve", "inference", "retrieve", ROW.epoch)
    assert job.input.question == "왜?"
    assert isinstance(job.carry, Resumed)
    assert list(job.carry.embedding.dense) == [0.5]
    assert opened(row("inference", "retrieve", QUESTION), silent, Kept())[1].carry is None
    assert opened(row("noop", "run", "{}", "{}"), silent, Kept())[1].carry is None


@pytest.mark.parametrize(
    ("claimed", "error", "field"),
    [
        (row("noop", "run", '{"steps": 0}'), InvalidInput, "input.steps"),
        (row("noop", "run", "[]"), InvalidInput, "input"),
        (row("inference", "generate", QUESTION), CarryInvalid, "carry.passages"),
        (row("inference", "generate", QUESTION, '{"passages": [{}]}'), CarryInvalid, "carry.passages.0.document_id"),
        (row("noop", "run", "{}", '{"a": 1}'), CarryInvalid, "carry"),
        (row("indexing", "upsert", PART, '{"documents": [["a", 1]]}'), CarryInvalid, "carry.embedder"),
    ],
)
def test_what_does_not_fit_names_its_field(claimed: Claimed, error: type[Any], field: str) -> None:
    with pytest.raises(error) as caught:
        opened(claimed, silent, Kept())
    assert caught.value.field == field
    if error is CarryInvalid:
        assert f"{claimed.kind}.{claimed.stage}" in caught.value.message
        assert caught.value.retryable, "a worker of another version may know this carry"


def test_a_stage_that_is_not_known_here_is_left_to_others() -> None:
    with pytest.raises(StageUnknown, match="'dance' of kind 'noop'") as caught:
        opened(row("noop", "dance", "{}"), silent, Kept())
    assert caught.value.retryable


def test_a_former_name_leads_to_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "noop", replace(KINDS["noop"], aliases=frozenset({"nothing"})))  # type: ignore[arg-type]
    _, job = opened(row("nothing", "run", "{}"), silent, Kept())
    assert (job.kind, job.stage) == ("noop", "run")


def test_where_a_stage_was_split_the_input_tells_which_is_meant() -> None:
    """For rows from before the rebuild had its own stages."""
    assert opened(row("indexing", "prepare", PART), silent, Kept())[1].stage == "prepare"
    assert opened(row("indexing", "prepare", REBUILD, "{}"), silent, Kept())[1].stage == "rebuild_prepare"
    with pytest.raises(InvalidInput) as caught:
        opened(row("indexing", "prepare", '{"collection": "c"}'), silent, Kept())
    assert caught.value.field == "input.part"
