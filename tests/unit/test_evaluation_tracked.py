"""What an evaluation hands to the experiment tracker."""

import hashlib

import pytest

from consumers.stages.evaluation.tracked import experiment_of, track
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Planned, Scored
from schemas.kinds.evaluation.result import Judged
from tests.unit.ports_in_memory import World
from tests.unit.test_stages_evaluation import content, evaluated, given


async def test_an_evaluation_is_a_run_with_one_for_each_variant_in_it() -> None:
    world = World()
    gates = [{"metric": "f1", "min": 0.9}]
    result = await evaluated(world, given(gates=gates, title="마감 전 점검", experiment="qa/nightly"))
    main, one, two = (world.tracker.runs[key] for key in ("", "one", "two"))
    assert (main.name, main.experiment, main.parent) == ("마감 전 점검", "qa/nightly", None)
    assert (one.name, one.experiment, one.parent) == ("one", "qa/nightly", "")
    assert (one.params["top_k"], two.params["top_k"]) == ("5", "2")
    assert one.params["collection"] == "ko"
    assert one.params["generate.temperature"] == "0.2"
    assert result.tracking is not None
    assert result.tracking.experiment == "t/qa/nightly"
    figures = world.tracker.metrics
    assert figures[""] | {"passed": 0.0, "items.total": 3.0, "items.failed": 1.0} == figures[""]
    f1 = result.variants[0].metrics["f1"]
    told = {name: figures["one"][name] for name in ("f1", "f1.strict", "f1.low", "f1.high", "f1.missing")}
    assert list(told.values()) == [f1.mean, f1.strict, *f1.ci95, f1.missing]
    assert figures["two"]["f1.gain"] == result.comparisons[0].metrics["f1"].gain
    assert "f1.gain" not in figures["one"], "the baseline gains nothing"


async def test_the_report_is_attached_and_the_items_are_named() -> None:
    world = World()
    result = await evaluated(world, given())
    assert world.tracker.files == {("", "report.html"): result.report, ("", "figures.json"): result.figures}
    main = world.tracker.runs[""]
    assert main.tags["welip.items_file"] == result.items_file
    lines = (await content(world, result.items_file)).splitlines()
    assert len(lines) == 6
    assert len(main.tags["welip.dataset.sha256"]) == len(hashlib.sha256().hexdigest())


async def test_a_judge_is_named_on_every_run() -> None:
    world = World()
    result = await evaluated(world, given())
    assert "welip.judge" not in world.tracker.runs[""].tags
    judged = result.model_copy(update={"judged": Judged(judge="qwen@2")})
    again = World()
    job = again.job("evaluation", "report", given(), Scored(sources=[]))
    await track(job, again.tracker, Planned(items="", count=3, unanswerable=1, metrics={}), judged)
    assert {run.tags["welip.judge"] for run in again.tracker.runs.values()} == {"qwen@2"}


async def test_the_same_items_have_the_same_hash_and_others_another() -> None:
    hashes = []
    for changes in ({}, {"variants": [{"name": "one"}, {"name": "two"}]}, {"items": given()["items"][::-1]}):
        world = World()
        await evaluated(world, given(**changes))
        hashes.append(world.tracker.runs[""].tags["welip.dataset.sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


async def test_without_a_tracker_nothing_is_told() -> None:
    world = World()
    world.tracker.off = True
    result = await evaluated(world, given())
    assert result.tracking is None
    assert not world.tracker.metrics


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "ko"),
        ({"experiment": "mine"}, "mine"),
        ({"collection": None, "variants": [{"name": "v", "collection": "other"}]}, "other"),
        ({"collection": None, "variants": [{"name": "v", "kind": "generation", "model": "m"}]}, "m"),
    ],
)
def test_the_experiment_is_named_by_the_input_or_for_what_is_asked(changes: dict[str, object], named: str) -> None:
    assert experiment_of(EvaluationInput.model_validate(given(**changes))) == named


@pytest.mark.parametrize("name", ["", "/x", " x", "a\nb", "a'b", "x" * 101])
def test_a_name_that_could_be_taken_for_something_else_is_no_experiments(name: str) -> None:
    with pytest.raises(ValueError, match="experiment"):
        EvaluationInput.model_validate(given(experiment=name))
