"""Which questions an evaluation asks: none that was answered before in the same way, and once more what failed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson
import pytest

from consumers.stages.evaluation.reuse import digests
from consumers.stages.ports import ChildSummary, KnownAnswer
from consumers.stages.registry import stage
from schemas.collections import CollectionSettings
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.result import EvaluationResult
from schemas.lifecycle import JobState
from schemas.outcomes import Child, Done, FanOut, Next
from tests.unit.ports_in_memory import World

ITEMS = [{"id": id, "question": f"{id}?", "reference": "답"} for id in ("a", "b", "c")]
ALL = ["1/one", "2/one", "3/one"]

Answerer = Callable[[Child, int], dict[str, Any] | str]
"""What a question in a round is answered. A text is the code of an error; a retry may overcome all but `fatal`."""


def answer(text: str) -> dict[str, Any]:
    return {
        "answer": text,
        "found": True,
        "citations": [],
        "model": "m",
        "retrieved": [],
        "timings_ms": {"generate": 5},
    }


def rightly(child: Child, round: int) -> dict[str, Any]:
    return answer("답")


@dataclass
class Runs:
    """Evaluations one after the other in one deployment, with a collection `ko`."""

    world: World = field(default_factory=World)

    async def ready(self) -> "Runs":
        await self.change_collection("ko")
        return self

    async def change_collection(self, name: str) -> None:
        settings = CollectionSettings()
        self.world.catalogue.shelves.pop(("t", name), None)
        await self.world.catalogue.begin(uuid4(), "t", name, settings=settings, encoder="words", embedder=None)

    async def run(
        self, how: Answerer = rightly, *, meanwhile: Callable[[], Any] | None = None, **changes: Any
    ) -> tuple[list[list[str]], EvaluationResult]:
        """The keys of the questions that each round asked, and the result."""
        given = {"items": ITEMS, "collection": "ko", "variants": [{"name": "one"}]} | changes
        world = self.world
        asked: list[list[str]] = []
        world.children.summaries = []
        outcome = await stage("evaluation", "plan")(world.job("evaluation", "plan", given), world.ports)
        while isinstance(outcome, FanOut):
            asked.append([])
            for child in outcome.children:
                asked[-1].append(child.key)
                self._answered(child, len(asked), how(child, len(asked)))
            if meanwhile is not None:
                await meanwhile()
            assert outcome.then == "score"
            job = world.job("evaluation", "score", given, outcome.carry)
            outcome = await stage("evaluation", "score")(job, world.ports)
        assert isinstance(outcome, Next)
        done = await stage("evaluation", "report")(world.job("evaluation", "report", given, outcome.carry), world.ports)
        assert isinstance(done, Done)
        return asked, EvaluationResult.model_validate(done.result)

    def _answered(self, child: Child, round: int, told: dict[str, Any] | str) -> None:
        given = child.input if isinstance(child.input, dict) else child.input.model_dump(mode="json")
        job = uuid4()
        state, result, error = JobState.SUCCEEDED, None, None
        if isinstance(told, str):
            state = JobState.FAILED
            error = {"code": told, "message": "it broke", "retryable": told != "fatal"}
        else:
            result = told
            self.world.answers.results[job] = KnownAnswer(child.kind, told)
        self.world.children.summaries.append(
            ChildSummary(child.key, child.kind, round, state, given, result, error, job)
        )


async def test_an_evaluation_asks_nothing_that_an_earlier_one_was_answered_in_the_same_way() -> None:
    runs = await Runs().ready()
    first, before = await runs.run()
    again, after = await runs.run(lambda *_: answer("another"), metrics=["exact_match"])
    assert (first, again) == ([ALL], [[]])
    assert (before.items.reused, after.items.reused) == (0, 3)
    assert after.variants[0].metrics["exact_match"].mean == 1, "the earlier answers are scored"
    assert [key for key in runs.world.blobs.data if "reused" in key] == [], "the copies are gone"


async def test_only_what_is_missing_is_asked() -> None:
    runs = await Runs().ready()
    await runs.run(lambda child, _: "fatal" if child.key == "2/one" else answer("답"))
    more = [*ITEMS, {"id": "d", "question": "d?", "reference": "답"}]
    asked, result = await runs.run(items=more, variants=[{"name": "other"}, {"name": "two", "top_k": 2}])
    assert asked == [["1/two", "2/other", "2/two", "3/two", "4/other", "4/two"]]
    assert result.items.model_dump() == {
        "total": 4,
        "unanswerable": 0,
        "answers": 8,
        "succeeded": 8,
        "failed": 0,
        "reused": 2,
        "asked_again": 0,
        "not_asked": 0,
    }


@pytest.mark.parametrize("what", ["collection", "deployment", "tenant", "reuse", "setting"])
async def test_whatever_may_change_the_answer_makes_it_be_asked_again(what: str) -> None:
    runs = await Runs().ready()
    await runs.run()
    changes: dict[str, Any] = {}
    match what:
        case "collection":
            await runs.change_collection("ko")
        case "deployment":
            runs.world.digest = "two"
        case "tenant":
            runs.world.answers.known = {
                ("other", address): job for (_, address), job in runs.world.answers.known.items()
            }
        case "reuse":
            changes = {"reuse": False}
        case "setting":
            changes = {"variants": [{"name": "one", "generate": {"temperature": 0.5}}]}
    asked, result = await runs.run(**changes)
    assert asked == [ALL]
    assert result.items.reused == 0


async def test_answers_from_a_collection_that_changed_meanwhile_are_not_kept() -> None:
    runs = await Runs().ready()
    await runs.run(meanwhile=lambda: runs.change_collection("ko"))
    assert (await runs.run())[0] == [ALL]
    assert (await runs.run())[0] == [[]]


async def test_a_model_whose_name_may_come_to_mean_another_one_is_asked_again() -> None:
    ports = (await Runs().ready()).world.ports

    async def reusable(**way: Any) -> bool:
        request = EvaluationInput.model_validate(
            {"items": ITEMS, "collection": "ko", "variants": [{"name": "v", **way}]}
        )
        return bool(await digests(request, ports, "t"))

    assert await reusable()
    assert await reusable(generate=None)
    assert await reusable(generate={"model": "default:mine@3"})
    assert await reusable(kind="generation", model="default:mine@3")
    assert not await reusable(generate={"model": "default:mine"})
    assert not await reusable(kind="generation", model="some-alias")
    assert not await reusable(collection="nowhere")


async def test_a_large_answer_is_taken_out_of_its_file_and_asked_again_when_that_is_gone() -> None:
    runs = await Runs().ready()
    await runs.run()
    answers = runs.world.answers.results
    kept = runs.world.upload(orjson.dumps(answer("다른 답")), "result.json")
    one, two, _ = answers
    answers[one] = KnownAnswer("inference", {"file": kept})
    answers[two] = KnownAnswer("inference", {"file": f"file_{'0' * 32}"})
    asked, result = await runs.run(metrics=["exact_match"])
    assert asked == [["2/one"]]
    assert result.variants[0].metrics["exact_match"].mean == pytest.approx(2 / 3, abs=1e-4)


async def test_what_failed_is_asked_once_more_and_the_last_answer_counts() -> None:
    def how(child: Child, round: int) -> dict[str, Any] | str:
        if child.key == "2/one":
            return "fatal"
        return "engine_error" if child.key == "3/one" and round == 1 else answer("답")

    runs = await Runs().ready()
    asked, result = await runs.run(how)
    assert asked == [ALL, ["3/one"]]
    assert (result.items.succeeded, result.items.failed, result.items.asked_again) == (2, 1, 1)
    assert (await runs.run(how))[0] == [["2/one"]], "what was answered in the second round is known, too"


@pytest.mark.parametrize(("again", "rounds"), [(0, 1), (1, 2), (3, 4)])
async def test_a_question_is_asked_again_as_often_as_the_input_says(again: int, rounds: int) -> None:
    runs = await Runs().ready()
    asked, result = await runs.run(lambda *_: "engine_error", again=again)
    assert asked == [ALL] * rounds
    assert (result.items.failed, result.items.asked_again) == (3, 3 * again)
