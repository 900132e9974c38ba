"""Evaluations with a judge, without any process: what it is asked, what becomes of its scores, and of their absence."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

import pytest

from consumers.stages import cutting
from consumers.stages.evaluation import slicing
from consumers.stages.evaluation.judging import asking
from consumers.stages.ports import ChildSummary
from consumers.stages.registry import stage
from schemas.errors import EngineClosed, EngineRefused, InvalidInput, JobError
from schemas.kinds.calibration import CalibrationResult
from schemas.kinds.evaluation.result import EvaluationResult
from schemas.kinds.kind import Step
from schemas.kinds.registry import KINDS
from schemas.lifecycle import JobState
from schemas.models import Models, OpenAIModel, Price
from schemas.outcomes import Child, Done, FanOut, Next, Retry
from tests.unit.judge_in_memory import JudgeModel, Reply
from tests.unit.ports_in_memory import World
from tests.unit.test_stages_evaluation import ANSWERS, content, given, inference, reported
from tests.unit.texts_in_memory import LengthEmbedder

JUDGE = OpenAIModel(name="judge", engine="openai", url="http://judge/v1", price=Price(input=1, output=2))
RUN = uuid4()
MODELS = Models((JUDGE, OpenAIModel(name="writer", engine="openai", url="http://writer/v1")))
GRADER = {
    "type": "score_model",
    "name": "good",
    "input": [{"role": "user", "content": "{{item.question}} {{sample.output_text}} {{sample.contexts}}"}],
    "range": [1, 5],
}
LABELS = {
    "type": "label_model",
    "name": "tone",
    "input": [{"role": "developer", "content": "Judge."}, {"role": "user", "content": "{{sample.output_text}}"}],
    "labels": ["kind", "rude", "neither"],
    "passing_labels": ["kind", "neither"],
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES_S", (0.0, 0.0))


def world(says: Callable[[str], Reply], **more: Any) -> tuple[World, JudgeModel]:
    model = JudgeModel(says)
    return World(text_model=model, models=MODELS, **more), model


def judged(**changes: Any) -> dict[str, Any]:
    return given(metrics=["exact_match"], graders=[GRADER], judge={"model": "judge"}) | changes


async def child_ended(there: World, child: Child) -> ChildSummary:
    """The summary of a child, as the executor would leave it: run through the stage it begins at."""
    step = child.stage or KINDS[child.kind].first_stage
    job = there.job(child.kind, step, child.input)
    result, error = None, None
    try:
        outcome = await stage(child.kind, step)(job, there.ports)
        assert isinstance(outcome, Done)
        result = outcome.result
    except JobError as failed:
        error = {"code": failed.reason, "message": failed.message, "retryable": failed.retryable}
    state = JobState.FAILED if result is None else JobState.SUCCEEDED
    return ChildSummary(child.key, child.kind, 2, state, {}, result, error, uuid4())


async def scored(there: World, input: dict[str, Any], answers: dict[str, Any] = ANSWERS) -> FanOut:
    """The slices that are left to models."""
    planned = await stage("evaluation", "plan")(there.job("evaluation", "plan", input), there.ports)
    assert isinstance(planned, FanOut)
    there.children.summaries = [
        ChildSummary(
            child.key,
            child.kind,
            1,
            JobState.SUCCEEDED if answers[child.key] else JobState.FAILED,
            {},
            answers[child.key],
            None if answers[child.key] else {"code": "engine_error", "message": "it broke"},
            uuid4(),
        )
        for child in planned.children  # type: ignore[union-attr]
    ]
    outcome = await stage("evaluation", "score")(
        there.job("evaluation", "score", input, planned.carry, id=RUN), there.ports
    )
    assert isinstance(outcome, FanOut)
    return outcome


async def evaluated(
    there: World, input: dict[str, Any], answers: dict[str, Any] = ANSWERS
) -> tuple[EvaluationResult, list[dict[str, Any]]]:
    """The result and the lines of a run whose slices are judged one after the other."""
    slices = await scored(there, input, answers)
    there.children.summaries = [await child_ended(there, child) for child in slices.children]  # type: ignore[union-attr]
    collected = await stage("evaluation", "collect")(
        there.job("evaluation", "collect", input, slices.carry, id=RUN), there.ports
    )
    assert isinstance(collected, Next)
    result = await reported(there, input, collected.carry)
    lines = (await content(there, result.items_file)).splitlines()
    return result, [json.loads(line) for line in lines]


def four(_: str) -> str:
    return '{"steps": "because", "result": 4}'


async def test_a_score_model_reads_question_answer_and_passages_and_its_range_becomes_0_to_1() -> None:
    there, model = world(four)
    result, lines = await evaluated(there, judged())
    assert lines[0]["scores"] == {"exact_match": 1.0, "good": 0.75}
    assert lines[3]["scores"] == {"exact_match": None, "good": None}, "a failed answer is not judged"
    assert len(model.asked) == 5
    [turn] = model.asked[0]
    assert turn.content.startswith("하나? 정답 하나. 본문 d1\n\n본문 d1\n\n본문 d9\n\nReply with a JSON object")
    told = result.variants[1].metrics["good"]
    assert (told.mean, told.n, told.missing) == (0.75, 2, 1)
    assert told.strict == 0.5


async def test_a_label_model_passes_its_passing_labels_alone() -> None:
    there, model = world(lambda text: '{"label": "rude"}' if "틀림" in text else '{"label": "kind"}')
    _, lines = await evaluated(there, judged(graders=[LABELS]))
    assert [line["scores"]["tone"] for line in lines] == [1, 0, 1, None, 1, 1]
    assert [turn.role for turn in model.asked[0]] == ["system", "user"]


async def test_judge_and_version_stand_on_every_figure_and_line() -> None:
    there, _ = world(four)
    result, lines = await evaluated(there, judged(judge={"model": "judge", "version": "2026-11"}))
    assert result.judged is not None
    assert result.judged.judge == "judge@2026-11"
    assert result.variants[0].metrics["good"].by == "judge@2026-11"
    assert result.variants[0].metrics["exact_match"].by is None
    assert lines[0]["by"] == {"good": "judge@2026-11"}
    assert "judge@2026-11" in (await content(there, result.report)).decode()
    assert (result.judged.calls, result.judged.cached, result.judged.tokens) == (5, 0, 75)
    assert result.judged.cost == pytest.approx(5 * (10 + 2 * 5) / 1e6)
    assert [key for key in there.blobs.data if key.endswith(("items.jsonl", "scored.jsonl"))] == []


async def test_what_a_killed_slice_has_paid_counts_and_the_figures_are_those_of_an_undisturbed_run() -> None:
    undisturbed, _ = world(four)
    before, _ = await evaluated(undisturbed, judged())
    there, _ = world(four)
    slices = await scored(there, judged())
    for child in slices.children:  # type: ignore[union-attr]
        await child_ended(there, child)  # its worker dies before the end is recorded
    there.children.summaries = []
    after, _ = await evaluated(there, judged())
    assert before.judged is not None
    assert after.judged is not None
    assert (after.judged.calls, after.judged.cached) == (0, 5)
    assert (after.judged.tokens, after.judged.cost) == (before.judged.tokens, before.judged.cost)
    assert await content(there, after.figures) == await content(undisturbed, before.figures)
    assert await content(there, after.report) == await content(undisturbed, before.report)


async def test_without_a_version_the_models_row_is_one_but_not_its_key_or_price() -> None:
    from consumers.stages.naming import judge_name

    def name(**changes: Any) -> str:
        return judge_name("judge", None, Models((JUDGE.model_copy(update=changes),)))

    assert name() == name(price=None, timeout_s=5.0)
    assert len({name(), name(served_as="other"), name(url="http://elsewhere/v1"), name(options={"top_k": 1})}) == 4


async def test_a_slice_that_is_tried_again_asks_nothing_again() -> None:
    there, model = world(four)
    [child] = (await scored(there, judged())).children  # type: ignore[misc]
    before = await child_ended(there, child)
    calls = len(model.asked)
    after = await child_ended(there, child)
    assert len(model.asked) == calls
    assert before.result is not None
    assert after.result is not None
    assert after.result["answers"] == before.result["answers"]
    assert (after.result["calls"], after.result["cached"]) == (0, calls)


async def test_slices_cover_every_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "JUDGED_AT_ONCE", 2)
    monkeypatch.setattr(slicing, "SLICES_EMBEDDED", 2)
    there, model = world(four, embedder=LengthEmbedder())
    slices = await scored(there, judged(metrics=["exact_match", "similarity"]))
    assert [child.key for child in slices.children] == [  # type: ignore[union-attr]
        *("judge/0", "judge/1", "judge/2"),
        *("similarity/0", "similarity/1"),
    ]
    result, lines = await evaluated(there, judged(metrics=["exact_match", "similarity"]))
    assert [line["scores"]["good"] for line in lines] == [0.75, 0.75, 0.75, None, 0.75, 0.75]
    assert [line["scores"].get("similarity", "-") for line in lines][3:] == [None, "-", "-"]
    assert result.variants[0].metrics["similarity"].by == "lengths"
    assert len(model.asked) == 5


async def test_similarity_is_that_of_the_best_reference_and_an_answer_not_found_has_none() -> None:
    there, _ = world(four, embedder=LengthEmbedder(refuses="틀림"))
    answers = ANSWERS | {"1/one": inference("정답 하나", ["d1"]), "2/one": inference("없음", ["d1"], found=False)}
    _, lines = await evaluated(there, given(metrics=["similarity"]), answers)
    scores = [line["scores"].get("similarity", "-") for line in lines]
    assert scores == [1.0, None, 0.0, None, "-", "-"]
    assert lines[1]["unscored"] == {"similarity": "engine_refused"}


async def test_a_score_that_could_not_be_had_is_missing_with_its_reason() -> None:
    there, _ = world(lambda text: "?" if "둘?" in text or "cannot be used" in text else four(text))
    result, lines = await evaluated(there, judged())
    assert lines[2]["scores"]["good"] is None
    assert lines[2]["unscored"] == {"good": "judge_unreadable"}
    told = result.variants[0].metrics["good"]
    assert (told.n, told.missing, told.mean, told.strict) == (2, 1, 0.75, 0.5)
    assert result.judged is not None
    assert result.judged.unscored == {"judge_unreadable": 1}
    assert any("1 scores could not be had (judge_unreadable)" in warning for warning in result.warnings)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999", '"much"', "null"])
async def test_a_score_that_is_no_number_cannot_be_read(number: str) -> None:
    there, _ = world(lambda _: f'{{"result": {number}}}')
    result, _ = await evaluated(there, judged())
    assert result.judged is not None
    assert result.judged.unscored == {"judge_unreadable": 5}


@pytest.mark.parametrize("error", [EngineClosed("wrong key"), EngineRefused("no")])
async def test_a_judge_that_refuses_everything_leaves_the_other_scores(error: JobError) -> None:
    there, _ = world(lambda _: error)
    result, lines = await evaluated(there, judged(gates=[{"metric": "good", "min": 0.1}]))
    assert lines[0]["scores"] == {"exact_match": 1.0, "good": None}
    assert "good" not in result.variants[0].metrics
    assert result.judged is not None
    assert result.judged.unscored == {"engine_refused": 5}
    assert result.judged.messages == {"engine_refused": error.message}
    assert result.passed is False


async def test_at_the_ceiling_the_run_ends_with_the_scores_it_has_and_says_so() -> None:
    there, model = world(four)
    result, lines = await evaluated(there, judged(ceiling={"tokens": 30}))
    assert len(model.asked) == 2
    assert result.judged is not None
    assert (result.judged.stopped, result.judged.unscored) == (True, {"ceiling_reached": 3})
    assert [line["scores"]["good"] for line in lines] == [0.75, 0.75, None, None, None, None]
    assert [line["scores"].get("exact_match") for line in lines] == [1.0, 0.0, 1.0, None, None, None]
    assert (result.variants[0].metrics["good"].n, result.variants[0].metrics["good"].missing) == (1, 2)


async def test_what_the_answers_cost_counts_towards_the_ceiling() -> None:
    there, model = world(four)
    answers = {
        key: told and told | {"usage": {"prompt_tokens": 60, "completion_tokens": 40}} for key, told in ANSWERS.items()
    }
    result, lines = await evaluated(there, judged(ceiling={"tokens": 500}), answers)
    assert model.asked == []
    assert result.judged is not None
    assert result.judged.stopped
    assert [line["unscored"] for line in lines if line["state"] == "succeeded"] == [{"good": "ceiling_reached"}] * 5
    assert any("ceiling was reached" in warning for warning in result.warnings)
    enough, _ = await evaluated(there, judged(ceiling={"tokens": 600}), answers)
    assert enough.judged is not None
    assert (enough.judged.calls, enough.judged.stopped) == (5, False)


async def test_a_ceiling_of_money_needs_prices() -> None:
    there, _ = world(four)
    variants = [{"name": "w", "kind": "generation", "model": "writer"}]
    with pytest.raises(InvalidInput, match="'writer' has no `price`") as refused:
        await scored(there, judged(variants=variants, ceiling={"cost": 1}))
    assert (refused.value.reason, refused.value.field) == ("price_missing", "input.ceiling.cost")


async def test_a_judge_of_its_own_answers_is_warned_of() -> None:
    there, _ = world(four)
    answers = {
        key: told and told | {"model": "judge" if key.endswith("two") else "first"} for key, told in ANSWERS.items()
    }
    result, _ = await evaluated(there, judged(), answers)
    assert result.judged is not None
    assert result.judged.judges_itself == ["two"]
    assert any("also wrote the answers of 'two'" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": ["faithfulness"], "judge": None, "graders": []}, "'faithfulness' needs a judge"),
        ({"judge": None}, "grader 'good' needs a judge"),
        ({"graders": [GRADER | {"model": "other"}]}, "one judge, 'judge'"),
        ({"graders": [GRADER | {"range": [5, 1]}]}, "must be above the first"),
        ({"graders": [GRADER | {"range": [0, float("inf")]}]}, "finite number"),
        ({"graders": [LABELS | {"passing_labels": ["nice"]}]}, "'nice' is none of the labels"),
        ({"graders": [LABELS | {"labels": ["kind", "kind"]}]}, "two labels are the same"),
        ({"ceiling": {"tokens": 0}}, "greater than or equal to 1"),
    ],
)
def test_a_judge_that_contradicts_itself_is_refused_at_submission(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        World().job("evaluation", "plan", judged(**changes))


def test_graders_in_openais_shape_name_the_judge_themselves() -> None:
    job = World().job("evaluation", "plan", judged(judge=None, graders=[GRADER | {"model": "judge"}]))
    assert job.input.judge.model == "judge"
    choice = KINDS["evaluation"].choice(job.input, MODELS)
    assert choice is not None
    assert (choice.model.name, choice.field) == ("judge", "input.judge.model")
    assert Step(KINDS["evaluation"], "judge").stage.task == "chat"


def test_metrics_of_ragas_say_which_package_group_they_need() -> None:
    def groups(**changes: Any) -> frozenset[str]:
        found: frozenset[str] = World().job("evaluation", "plan", judged(**changes)).input.package_groups
        return found

    assert groups() == frozenset()
    assert groups(metrics=["faithfulness"]) == {"eval"}
    assert groups(metrics=None, graders=[]) == {"eval"}, "a judge without more is asked for RAGAS' usual four"
    assert groups(metrics=None) == frozenset()


@pytest.mark.skipif(find_spec("ragas") is not None, reason="RAGAS is installed here")
async def test_a_worker_without_ragas_leaves_the_slice_to_another() -> None:
    there, model = world(four)
    slices = await scored(there, judged(metrics=["faithfulness"], graders=[]))
    [child] = slices.children  # type: ignore[misc]
    outcome = await stage("evaluation", "judge")(there.job("evaluation", "judge", child.input), there.ports)
    assert isinstance(outcome, Retry)
    assert outcome.error.reason == "dependency_missing"
    assert "welip[eval]" in outcome.error.message
    assert model.asked == []


async def test_a_metric_by_meaning_is_refused_without_an_embedder() -> None:
    there, _ = world(four)
    with pytest.raises(InvalidInput, match="WELIP_EMBEDDER") as refused:
        await scored(there, judged(metrics=["similarity"]))
    assert refused.value.reason == "metric_not_possible"


ITEMS = [
    {"question": "하나?", "answer": "그렇다", "human": True},
    {"question": "둘?", "answer": "아니다 " * 20, "human": False},
    {"question": "셋?", "answer": "글쎄", "human": False},
    {"question": "넷?", "answer": "모른다", "human": True},
]


async def calibrated(there: World, input: dict[str, Any]) -> CalibrationResult:
    planned = await stage("calibration", "plan")(there.job("calibration", "plan", input, id=RUN), there.ports)
    assert isinstance(planned, FanOut)
    there.children.summaries = [await child_ended(there, child) for child in planned.children]  # type: ignore[union-attr]
    done = await stage("calibration", "report")(
        there.job("calibration", "report", input, planned.carry, id=RUN), there.ports
    )
    assert isinstance(done, Done)
    return CalibrationResult.model_validate(done.result)


async def test_a_calibration_tells_agreement_bias_and_what_the_judge_favours() -> None:
    there, _ = world(lambda text: '{"result": 5}' if len(text) > 150 or "하나" in text else '{"result": 1}')
    found = await calibrated(there, {"judge": {"model": "judge"}, "items": ITEMS, "grader": GRADER})
    assert found.confusion.model_dump() == {"both": 1, "judge_only": 1, "human_only": 1, "neither": 1}
    assert (found.agreement, found.kappa, found.bias) == (0.5, 0.0, 0.0)
    assert found.verbosity is not None
    assert found.verbosity > 0
    assert found.position is None
    assert [one.id for one in found.disagreements] == ["2", "4"]
    assert (found.items, found.missing, found.calls, found.tokens) == (4, 0, 4, 60)
    assert there.blobs.data == {}


async def test_a_label_grader_is_asked_with_its_labels_both_ways_round() -> None:
    def first(text: str) -> str:
        return json.dumps({"label": text.partition("one of ")[2].split('"')[1]})

    there, model = world(first)
    items = [item | {"human": "kind" if item["human"] else "rude"} for item in ITEMS]
    grader = LABELS | {"labels": ["kind", "rude"], "passing_labels": ["kind"]}
    found = await calibrated(there, {"judge": {"model": "judge"}, "items": items, "grader": grader})
    assert found.position == 1.0, "it always takes the first"
    assert found.confusion.judge_only == 2
    assert len(model.asked) == 8


async def test_a_judge_that_cannot_be_asked_is_no_agreement() -> None:
    there, _ = world(lambda _: EngineClosed("wrong key"))
    found = await calibrated(there, {"judge": {"model": "judge"}, "items": ITEMS, "grader": GRADER})
    assert (found.missing, found.kappa, found.agreement, found.bias) == (4, None, None, None)
    assert found.unscored == {"engine_refused": 4}
    assert found.messages == {"engine_refused": "wrong key"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grader": None}, "either a `grader` or a `metric`"),
        ({"grader": None, "metric": "f1"}, "no judge is asked"),
        ({"grader": None, "metric": "context_recall"}, "item 1 has no `reference`"),
        ({"items": [ITEMS[0] | {"human": "good"}]}, "item 1: `human` is 'good'"),
        ({"items": [ITEMS[0] | {"human": 3}]}, "items.0.human"),
        ({"grader": GRADER | {"model": "other"}}, "names the model 'other'"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused_at_submission(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        World().job("calibration", "plan", {"judge": {"model": "judge"}, "items": ITEMS, "grader": GRADER} | changes)


async def test_a_calibration_of_a_model_that_is_not_here_is_refused() -> None:
    there, _ = world(four)
    with pytest.raises(InvalidInput, match="'nobody' is not here"):
        await calibrated(there, {"judge": {"model": "nobody"}, "items": ITEMS, "grader": GRADER})
