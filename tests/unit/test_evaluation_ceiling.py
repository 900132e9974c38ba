"""A run with a ceiling asks in waves, stops between two of them, and reports what was done and what was not."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from consumers.stages.evaluation import questions
from schemas.models import Models, OpenAIModel, Price
from schemas.outcomes import Child
from tests.unit.ports_in_memory import World
from tests.unit.test_evaluation_answers import Runs
from tests.unit.test_stages_evaluation import content, inference

ITEMS = [{"id": f"q{n}", "question": f"{n}?", "reference": "답"} for n in range(1, 101)]
METRICS = ["exact_match", "succeeded"]
WRITER = OpenAIModel(name="writer", engine="openai", url="http://writer/v1", price=Price(input=1, output=2))


def costing(tokens: int, *fails: str) -> Callable[[Child, int], dict[str, Any] | str]:
    """Every answer is right and takes so many tokens; the children with the keys of `fails` fail once."""
    left = set(fails)

    def answer(child: Child, round: int) -> dict[str, Any] | str:
        if child.key in left:
            left.remove(child.key)
            return "engine_overloaded"
        usage = {"prompt_tokens": tokens - 10, "completion_tokens": 10}
        return inference("답", ["d1"]) | {"usage": usage, "model": "writer"}

    return answer


def runs() -> Runs:
    return Runs(World(models=Models((WRITER,))))


async def test_the_run_stops_when_its_ceiling_is_reached_and_keeps_what_was_done() -> None:
    there = runs()
    asked, result = await there.run(costing(100), items=ITEMS, metrics=METRICS, ceiling={"tokens": 5_000})
    assert list(map(len, asked)) == [16, 34], "what is left pays for 34 answers"
    assert (result.items.answers, result.items.succeeded, result.items.failed) == (100, 50, 50)
    assert (result.items.not_asked, result.stopped) == (50, "ceiling_reached")
    told = result.variants[0].metrics["exact_match"]
    assert (told.n, told.missing, told.mean, told.strict) == (50, 50, 1.0, 0.5)
    assert result.variants[0].metrics["succeeded"].mean == 1.0, "what was not asked has not failed"
    lines = [json.loads(line) for line in (await content(there.world, result.items_file)).splitlines()]
    assert [line["item"] for line in lines] == [item["id"] for item in ITEMS]
    assert {line["error"]["code"] for line in lines[50:]} == {"ceiling_reached"}
    assert any("50 of 100 questions were not asked" in warning for warning in result.warnings)
    assert not any("failed" in warning for warning in result.warnings)
    worst = json.loads(await content(there.world, result.figures))["details"][0]["worst"]
    assert {line["state"] for line in worst} == {"succeeded"}
    assert "한도에 걸려 묻지 않음" in (await content(there.world, result.report)).decode()


async def test_money_is_a_ceiling_too_and_a_few_answers_at_most_pass_it() -> None:
    asked, result = await runs().run(costing(100), items=ITEMS, metrics=METRICS, ceiling={"cost": 0.002})
    # An answer costs (90 + 2 * 10) / 1e6: after 16 of them, 2 more are affordable.
    assert list(map(len, asked)) == [16, 16]
    assert result.items.not_asked == 68


async def test_a_ceiling_that_is_not_reached_changes_nothing() -> None:
    _, plain = await runs().run(costing(100), items=ITEMS, metrics=METRICS)
    asked, result = await runs().run(costing(100), items=ITEMS, metrics=METRICS, ceiling={"tokens": 10_100})
    assert list(map(len, asked)) == [16, 84]
    assert result.stopped is None
    assert (result.variants, result.items, result.warnings) == (plain.variants, plain.items, plain.warnings)


async def test_waves_grow_step_by_step_because_the_first_answers_may_be_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "FEW", 2)
    asked, _ = await runs().run(costing(100), items=ITEMS, metrics=METRICS, ceiling={"tokens": 1_000_000})
    assert list(map(len, asked)) == [2, 16, 82]


async def test_all_variants_stop_at_the_same_item() -> None:
    variants = [{"name": name} for name in ("a", "b", "c")]
    asked, result = await runs().run(
        costing(100), items=ITEMS, metrics=METRICS, variants=variants, ceiling={"tokens": 1_700}
    )
    assert [key.partition("/")[0] for key in asked[0][::3]] == ["1", "2", "3", "4", "5", "6"]
    assert {variant.succeeded for variant in result.variants} == {6}
    assert result.items.not_asked == 3 * 94


async def test_what_failed_in_any_wave_is_asked_again_after_the_last_one() -> None:
    fails = ("1/one", "20/one", "100/one")
    asked, result = await runs().run(costing(100, *fails), items=ITEMS, metrics=METRICS, ceiling={"tokens": 1_000_000})
    assert list(map(len, asked)) == [16, 84, 3]
    assert asked[2] == [*fails]
    assert (result.items.succeeded, result.items.asked_again, result.stopped) == (100, 3, None)


async def test_at_the_ceiling_nothing_is_asked_again() -> None:
    asked, result = await runs().run(costing(100, "1/one"), items=ITEMS, metrics=METRICS, ceiling={"tokens": 1_500})
    assert list(map(len, asked)) == [16]
    assert (result.items.succeeded, result.items.failed, result.items.not_asked) == (15, 85, 84)


async def test_with_a_higher_ceiling_only_the_rest_is_asked() -> None:
    there = await Runs().ready()
    first, _ = await there.run(costing(100), items=ITEMS, metrics=METRICS, ceiling={"tokens": 5_000})
    rest, result = await there.run(costing(100), items=ITEMS, metrics=METRICS, ceiling={"tokens": 6_000})
    assert list(map(len, first)) == [16, 34]
    assert [key for wave in rest for key in wave] == [f"{n}/one" for n in range(51, 101)]
    assert (result.items.reused, result.items.succeeded, result.stopped) == (50, 100, None)
