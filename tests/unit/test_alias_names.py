"""Aliases without a database: what a name means, which share of the jobs a canary gets, and what a child is given."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import ValidationError

from consumers.fan_out import wait
from schemas.aliases import Alias, NewCanary, NewPromotion, base_of
from schemas.errors import FanOutRefused
from schemas.kinds.generation import GenerationInput
from schemas.kinds.inference import InferenceInput
from schemas.kinds.kind import Step
from schemas.kinds.registry import KINDS
from schemas.models import WITHOUT_MODELS, ModelNotFound, Models, OpenAIModel
from schemas.outcomes import Child, FanOut
from tests.unit.test_fan_out_checks import ROW

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUPPORT = Alias("t", "support", "first", "first:tuned@3", 0.2, NOW, 0, NOW, NOW)
MODELS = Models(
    (
        OpenAIModel(name="first", engine="openai", url="http://h", adapters={"tuned": "x"}),
        OpenAIModel(name="vec", engine="openai", url="http://h", tasks=("embeddings",)),
        *WITHOUT_MODELS,
    )
)
TALK = [{"role": "user", "content": "안녕"}]


def asking(model: str) -> GenerationInput:
    return GenerationInput.model_validate({"messages": TALK, "model": model})


def test_a_canary_gets_its_share_of_the_jobs_and_a_job_always_the_same_model() -> None:
    dice = random.Random(7)
    ids = [UUID(int=dice.getrandbits(128)) for _ in range(1_000)]
    meant = [SUPPORT.meant(id) for id in ids]
    assert 160 <= meant.count("first:tuned@3") <= 240
    assert meant.count("first") == 1_000 - meant.count("first:tuned@3")
    assert meant == [SUPPORT.meant(id) for id in ids]
    other = replace(SUPPORT, name="sales")
    assert meant != [other.meant(id) for id in ids], "the same jobs are not on trial for every alias"
    assert {replace(SUPPORT, canary_model=None).meant(id) for id in ids} == {"first"}


@pytest.mark.parametrize(
    ("aliases", "asked", "model", "name", "alias"),
    [
        ({"support": "first"}, "support", "first", "first", "support"),
        ({"support": "first:tuned@3"}, "support", "first", "first:tuned@3", "support"),
        ({"first": "default"}, "first", "first", "first", None),
        ({"support": "first"}, "first:tuned", "first", "first:tuned", None),
    ],
)
def test_an_alias_means_what_it_points_to_and_a_models_own_name_goes_before_it(
    aliases: dict[str, str], asked: str, model: str, name: str, alias: str | None
) -> None:
    choice = KINDS["generation"].choice(asking(asked), MODELS.of_tenant(aliases))
    assert choice is not None
    assert (choice.model.name, choice.name, choice.alias) == (model, name, alias)


@pytest.mark.parametrize(
    ("aliases", "asked", "said"),
    [
        ({"support": "first"}, "suport", "'suport' is not here; models for 'chat': first, support"),
        ({"support": "gone"}, "support", "the alias 'support' points to 'gone': the model 'gone' is not here"),
        ({"support": "vec"}, "support", "the alias 'support' points to 'vec': the model 'vec' cannot do 'chat'"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_what_there_is(
    aliases: dict[str, str], asked: str, said: str
) -> None:
    with pytest.raises(ModelNotFound, match=said) as refused:
        KINDS["generation"].choice(asking(asked), MODELS.of_tenant(aliases))
    assert refused.value.field == "input.model"


@pytest.mark.parametrize(("full", "base"), [("first", "first"), ("first:tuned@3", "first"), ("a.b:c", "a.b")])
def test_the_base_of_a_full_name(full: str, base: str) -> None:
    assert base_of(full) == base


async def test_a_child_that_names_an_alias_is_given_what_it_points_to(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = replace(KINDS["noop"], children=frozenset({"inference", "generation"}))
    monkeypatch.setitem(KINDS, "noop", parent)  # type: ignore[arg-type]
    question = InferenceInput.model_validate({"collection": "c", "question": "왜?", "generate": {"model": "support"}})
    given = [
        Child("inference", question, key="q"),
        Child("generation", {"messages": TALK, "model": "support"}, key="g"),
        Child("generation", {"messages": TALK, "model": "first"}, key="own"),
    ]
    models = MODELS.of_tenant({"support": "first:tuned@3"})
    found = wait(ROW, Step(parent, "run"), FanOut(given, "run"), models)
    made = [child async for page in found.pages() for child in page]
    assert [one.model for one in made] == ["first"] * 3
    asked = [json.loads(one.input) for one in made]
    assert asked[0]["generate"]["model"] == asked[1]["model"] == "first:tuned@3"
    assert asked[2]["model"] == "first"
    assert question.generate is not None
    assert question.generate.model == "support", "other children may share it"
    assert {one.alias for one in made} == {None}, "a child keeps to its model when the alias moves"
    with pytest.raises(FanOutRefused, match="support"):
        wait(ROW, Step(parent, "run"), FanOut(given, "run"), MODELS)


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "expected": None, "force": True},
        {"model": "m"},
        {"model": "", "expected": None},
        {"model": "m", "expected": None, "evaluation": "job_1"},
        {"model": "m", "expected": None, "force": True, "reason": " "},
        {"model": "m", "expected": None, "reason": "a\x1b[2Jb"},
    ],
)
def test_a_promotion_says_what_it_expects_and_force_says_why(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NewPromotion.model_validate(body)


@pytest.mark.parametrize("share", [0, -0.1, 0.51, 1, float("nan"), float("inf")])
def test_a_canary_gets_no_more_than_the_champion_keeps(share: float) -> None:
    with pytest.raises(ValidationError):
        NewCanary.model_validate({"model": "m", "share": share})
