"""An evaluation as evidence, and the stages of `promotion`: only what was compared and passed takes over."""

from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from consumers.stages.ports import ChildSummary
from consumers.stages.promotion.promote import GateFailed
from consumers.stages.registry import stage
from schemas.errors import Conflict
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.result import (
    Compared,
    Comparison,
    EvaluationResult,
    Figures,
    GateResult,
    ItemCounts,
    VariantResult,
)
from schemas.kinds.promotion import Gated, PromotionInput
from schemas.lifecycle import JobState
from schemas.outcomes import Done, Fail, FanOut
from schemas.promotions import ChampionChanged, GateNotPassed, proof
from tests.unit.ports_in_memory import World

ITEMS = [{"question": "하나?", "reference": "답"}]
ASKED: dict[str, Any] = {"alias": "support", "model": "new", "items": ITEMS}


def figures(mean: float) -> Figures:
    return Figures(mean=mean, ci95=[mean - 0.1, mean + 0.1], strict=mean, n=9, missing=0)


def found(*, passed: bool, names: tuple[str, str] = ("champion", "candidate"), gated: bool = True) -> EvaluationResult:
    champion, candidate = names
    gain = 0.0 if passed else -0.5
    told = Compared(
        gain=gain, ci95=[gain - 0.04, gain + 0.04], p=0.5, p_adjusted=0.5, significant=not passed, test="bootstrap",
        n=9, detectable=0.1,
    )  # fmt: skip
    gate = GateResult(metric="f1", variant=candidate, against=champion, value=gain - 0.04, limit=-0.05, passed=passed)
    return EvaluationResult(
        items=ItemCounts(total=9, unanswerable=0, answers=18, succeeded=18, failed=0),
        variants=[
            VariantResult(name=champion, succeeded=9, failed=0, metrics={"f1": figures(0.8)}),
            VariantResult(name=candidate, succeeded=9, failed=0, metrics={"f1": figures(0.8 + gain)}),
        ],
        comparisons=[Comparison(variant=candidate, baseline=champion, metrics={"f1": told})],
        gates=[gate] if gated else [],
        passed=passed,
        report="file_r",
        figures="file_f",
        items_file="file_i",
        items_parquet="file_p",
    )


def evaluation(*models: str) -> EvaluationInput:
    variants = [{"name": name, "kind": "generation", "model": name} for name in models]
    return EvaluationInput.model_validate({"items": ITEMS, "variants": variants})


def test_a_candidate_that_passed_its_gates_has_its_figures_as_evidence() -> None:
    asked = evaluation("old", "new")
    told = proof("job_1", asked, found(passed=True, names=("old", "new")), champion="old", candidate="new")
    assert (told.evaluation, told.items) == ("job_1", 9)
    assert told.metrics["f1"].model_dump() == {"champion": 0.8, "candidate": 0.8, "gain": 0.0, "ci95": [-0.04, 0.04]}


@pytest.mark.parametrize(
    ("models", "how", "said"),
    [
        (("old", "new"), {"passed": False}, r"f1 0.300 beside 0.800, difference -0.500 \(-0.540 to -0.460\)"),
        (("old", "other"), {"passed": True}, "no variant that runs on 'new'"),
        (("other", "new"), {"passed": True}, "no variant that runs on 'old'"),
        (("old", "new"), {"passed": True, "gated": False}, "no gate that compares the two"),
    ],
)
def test_an_evaluation_that_does_not_show_it_is_no_proof(
    models: tuple[str, str], how: dict[str, Any], said: str
) -> None:
    with pytest.raises(GateNotPassed, match=said):
        proof("job_1", evaluation(*models), found(names=models, **how), champion="old", candidate="new")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"items": None}, "give one of"),
        ({"way": {"top_k": 3}}, "collection"),
        ({"way": {"generate": None}, "collection": "ko"}, "it only retrieves"),
        ({"way": {"kind": "generation", "prompt": "no place"}}, "must hold"),
        ({"metrics": ["nothing"]}, "no metric 'nothing'"),
        ({"alias": "a:b"}, "alias"),
        ({"by": 2}, "by"),
    ],
)
def test_a_promotion_that_cannot_be_evaluated_is_refused_when_it_is_submitted(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        PromotionInput.model_validate({**ASKED, **changes})


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "generation"),
        ({"collection": "ko"}, "inference"),
        ({"collection": "ko", "way": {"top_k": 2, "generate": {"max_tokens": 9}}}, "inference"),
        ({"way": {"kind": "generation", "prompt": "답: {question}", "max_tokens": 9}}, "generation"),
    ],
)
def test_both_models_are_asked_in_the_same_way(given: dict[str, Any], kind: str) -> None:
    told = PromotionInput.model_validate({**ASKED, **given}).evaluation("old", "new")
    champion, candidate = (way.model_dump() for way in told.ways)
    assert (champion.pop("name"), candidate.pop("name")) == ("champion", "candidate")
    assert champion["kind"] == kind
    first, second = (way if kind == "generation" else way["generate"] for way in (champion, candidate))
    assert (first.pop("model"), second.pop("model")) == ("old", "new")
    assert champion == candidate
    assert [(gate.metric, gate.variant, gate.not_worse_than) for gate in told.gates] == [
        ("f1", "candidate", "champion")
    ]


async def gated(world: World) -> Gated:
    outcome = await stage("promotion", "gate")(world.job("promotion", "gate", ASKED), world.ports)
    assert isinstance(outcome, FanOut)
    [child] = outcome.children
    assert (child.kind, outcome.then) == ("evaluation", "promote")
    assert isinstance(outcome.carry, Gated)
    return outcome.carry


def ended(world: World, result: EvaluationResult | None) -> None:
    error = {"code": "dataset_invalid", "message": "row 3", "retryable": False}
    state = JobState.FAILED if result is None else JobState.SUCCEEDED
    told = None if result is None else result.model_dump()
    world.children.summaries = [
        ChildSummary("gate", "evaluation", 1, state, {}, told, error if result is None else None, uuid4())
    ]


async def test_a_candidate_that_is_not_worse_takes_over_once() -> None:
    world = World()
    world.aliases.points_to["support"] = "old"
    carry = await gated(world)
    ended(world, found(passed=True))
    job = world.job("promotion", "promote", ASKED, carry)
    for one in (job, world.again(job)):  # a worker may die after the promotion
        outcome = await stage("promotion", "promote")(one, world.ports)
        assert isinstance(outcome, Done)
        assert (outcome.result["promoted"], outcome.result["previous"], outcome.result["model"]) == (True, "old", "new")
    assert world.aliases.points_to == {"support": "new"}
    [evidence] = world.aliases.promoted.values()
    assert evidence is not None
    assert evidence.evaluation == f"job_{world.children.summaries[0].id.hex}"


async def test_a_worse_candidate_is_refused_with_its_figures_and_the_alias_stays() -> None:
    world = World()
    world.aliases.points_to["support"] = "old"
    carry = await gated(world)
    ended(world, found(passed=False))
    outcome = await stage("promotion", "promote")(world.job("promotion", "promote", ASKED, carry), world.ports)
    assert isinstance(outcome, Fail)
    assert outcome.error.reason == "gate_not_passed"
    assert "f1 0.300 beside 0.800, difference -0.500" in outcome.error.message
    assert outcome.result is not None
    assert outcome.result["promoted"] is False
    assert outcome.result["evidence"]["metrics"]["f1"]["gain"] == -0.5
    assert world.aliases.points_to == {"support": "old"}


async def test_the_first_model_of_an_alias_is_measured_alone() -> None:
    world = World()
    carry = await gated(world)
    assert carry.champion is None
    ended(world, found(passed=True, gated=False))
    outcome = await stage("promotion", "promote")(world.job("promotion", "promote", ASKED, carry), world.ports)
    assert isinstance(outcome, Done)
    assert world.aliases.points_to == {"support": "new"}


async def test_nothing_is_promoted_when_the_evaluation_failed_or_the_alias_moved_meanwhile() -> None:
    world = World()
    world.aliases.points_to["support"] = "old"
    carry = await gated(world)
    ended(world, None)
    with pytest.raises(GateFailed, match=r"row 3 \[dataset_invalid\]"):
        await stage("promotion", "promote")(world.job("promotion", "promote", ASKED, carry), world.ports)
    ended(world, found(passed=True))
    world.aliases.points_to["support"] = "other"
    with pytest.raises(ChampionChanged):
        await stage("promotion", "promote")(world.job("promotion", "promote", ASKED, carry), world.ports)
    assert world.aliases.points_to == {"support": "other"}


async def test_the_champion_is_not_promoted_again() -> None:
    world = World()
    world.aliases.points_to["support"] = "new"
    with pytest.raises(Conflict, match="already"):
        await gated(world)
