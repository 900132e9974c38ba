"""Evaluations without any process: the dataset is checked, answers are scored, figures and gates are told."""

import io
import json
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import pytest
from pyarrow import parquet

from consumers.scoring.items import Given, scores
from consumers.stages.evaluation import plan
from consumers.stages.ports import ChildSummary
from consumers.stages.registry import stage
from schemas.errors import InvalidInput, NotFound
from schemas.kinds.evaluation.carries import Scored
from schemas.kinds.evaluation.items import Item
from schemas.kinds.evaluation.result import EvaluationResult
from schemas.kinds.inference import InferenceInput
from schemas.lifecycle import JobState
from schemas.morphemes import Morpheme
from schemas.outcomes import Done, FanOut, Next
from schemas.topics import Lane
from tests.unit.ports_in_memory import World

ITEMS = [
    {
        "id": "a",
        "question": "하나?",
        "reference": "정답 하나",
        "relevant": ["d1"],
        "document": "d1",
        "metadata": {"k": "x"},
    },
    {"id": "b", "question": "둘?", "reference": ["아님", "정답 둘"], "relevant": ["d2", "d3"], "document": "d1"},
    {"id": "c", "question": "셋?", "answerable": False, "metadata": {"k": "x"}},
]


def inference(answer: str | None, documents: list[str], *, found: bool = True) -> dict[str, Any]:
    passages = [{"document_id": id, "chunk_id": id, "text": f"본문 {id}", "score": 1.0} for id in documents]
    return {
        "answer": answer,
        "found": found,
        "citations": [],
        "model": "first",
        "retrieved": passages,
        "timings_ms": {"queue": 900, "retrieve": 10, "generate": 20, "total": 930},
    }


ANSWERS: dict[str, dict[str, Any] | None] = {
    "1/one": inference("정답 하나. [1]", ["d1", "d1", "d9"]),
    "1/two": inference("틀림", ["d9", "d1"]),
    "2/one": inference("정답 둘", ["d3"]),
    "2/two": None,
    "3/one": inference("없음", ["d1"], found=False),
    "3/two": inference("아무거나", ["d1"]),
}


def given(**changes: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "items": ITEMS,
        "collection": "ko",
        "variants": [{"name": "one"}, {"name": "two", "top_k": 2}],
        "again": 0,
    }
    return asked | changes


async def planned(world: World, input: dict[str, Any]) -> FanOut:
    outcome = await stage("evaluation", "plan")(world.job("evaluation", "plan", input), world.ports)
    assert isinstance(outcome, FanOut)
    return outcome


async def evaluated(
    world: World, input: dict[str, Any], answers: dict[str, dict[str, Any] | None] = ANSWERS
) -> EvaluationResult:
    """All stages, with these answers of the children."""
    fan_out = await planned(world, input)
    error = {"code": "engine_error", "message": "it broke", "retryable": True}
    world.children.summaries = [
        ChildSummary(
            child.key,
            child.kind,
            1,
            JobState.SUCCEEDED if answers[child.key] else JobState.FAILED,
            {},
            answers[child.key],
            None if answers[child.key] else error,
            uuid4(),
        )
        for child in fan_out.children
    ]
    job = world.job("evaluation", "score", input, fan_out.carry)
    onward = await stage("evaluation", "score")(job, world.ports)
    assert isinstance(onward, Next)
    return await reported(world, input, onward.carry)


async def reported(world: World, input: dict[str, Any], carry: Any) -> EvaluationResult:
    done = await stage("evaluation", "report")(world.job("evaluation", "report", input, carry), world.ports)
    assert isinstance(done, Done)
    return EvaluationResult.model_validate(done.result)


async def content(world: World, file: str | None) -> bytes:
    assert file is not None
    return await world.blobs.get((await world.files.find(file)).blob)


async def test_each_item_is_asked_in_each_way_in_the_bulk_lane() -> None:
    world = World()
    fan_out = await planned(world, given())
    assert fan_out.lane is Lane.BULK
    assert [child.key for child in fan_out.children] == ["1/one", "1/two", "2/one", "2/two", "3/one", "3/two"]
    first, second = fan_out.children[:2]
    assert (first.kind, first.input) == (
        "inference",
        InferenceInput(collection="ko", question="하나?", retrieved=True),
    )
    assert isinstance(second.input, InferenceInput)
    assert second.input.top_k == 2


async def test_a_model_alone_is_asked_with_the_prompt() -> None:
    variant = {"name": "m", "kind": "generation", "prompt": "Q: {question}\nA:", "system": "Be short.", "model": "x"}
    fan_out = await planned(World(), {"items": ITEMS[:1], "variants": [variant]})
    [child] = fan_out.children
    assert child.kind == "generation"
    assert [(one.role, one.content) for one in child.input.messages] == [  # type: ignore[union-attr]
        ("system", "Be short."),
        ("user", "Q: 하나?\nA:"),
    ]
    assert "mrr" not in fan_out.carry.metrics["m"]  # type: ignore[union-attr]


async def test_figures_of_both_variants() -> None:
    world = World()
    result = await evaluated(world, given())
    assert result.items.model_dump() == {
        "total": 3,
        "unanswerable": 1,
        "answers": 6,
        "succeeded": 5,
        "failed": 1,
        "reused": 0,
        "asked_again": 0,
        "not_asked": 0,
    }
    one, two = result.variants
    means = {name: told.mean for name, told in one.metrics.items()}
    assert means["exact_match"] == means["f1"] == means["not_found"] == means["answered"] == 1
    assert means["recall@5"] == 0.75
    assert means["precision@5"] == pytest.approx(0.2)
    assert means["mrr"] == 1
    assert one.latency_ms is not None
    assert one.latency_ms.p50 == 30, "without the queue"
    assert two.metrics["mrr"].mean == 0.5
    assert two.metrics["not_found"].mean == 0


async def test_a_failed_answer_is_missing_and_counts_as_nothing_in_the_strict_mean() -> None:
    answers = ANSWERS | {"1/two": inference("정답 하나", ["d1"])}
    two = (await evaluated(World(), given(), answers)).variants[1]
    assert (two.succeeded, two.failed) == (2, 1)
    told = two.metrics["exact_match"]
    assert (told.mean, told.strict, told.n, told.missing) == (1.0, 0.5, 1, 1)
    assert two.metrics["succeeded"].mean == pytest.approx(2 / 3, abs=1e-4)


async def test_items_are_published_as_lines_and_as_parquet() -> None:
    world = World()
    result = await evaluated(world, given())
    lines = [json.loads(line) for line in (await content(world, result.items_file)).splitlines()]
    assert [(line["item"], line["variant"]) for line in lines] == [(i, v) for i in "abc" for v in ("one", "two")]
    assert lines[3]["error"] == {"code": "engine_error", "message": "it broke"}
    assert lines[3]["scores"]["f1"] is None
    assert lines[3]["scores"]["succeeded"] == 0
    assert "f1" not in lines[4]["scores"], "the question has no answer"
    table = parquet.read_table(io.BytesIO(await content(world, result.items_parquet))).to_pylist()
    assert [row["f1"] for row in table] == [line["scores"].get("f1") for line in lines]
    assert json.loads(table[0]["metadata"]) == {"k": "x"}
    assert [key for key in world.blobs.data if key.endswith("items.jsonl")] == [], "the plan's copy is gone"


async def test_the_report_is_one_page_that_escapes_what_tenants_wrote() -> None:
    world = World()
    items = [{**ITEMS[0], "question": "<script>alert(1)</script>", "id": "<b>"}]
    answers = {"1/one": inference("<img src=x onerror=y>", ["<i>"]), "1/two": None}
    result = await evaluated(world, given(items=items, breakdown="k", title="<u>"), answers)
    html = (await content(world, result.report)).decode()
    seen: list[tuple[str, list[tuple[str, str | None]]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append((tag, attrs))  # type: ignore[method-assign]
    parser.feed(html)
    assert {tag for tag, _ in seen}.isdisjoint({"script", "img", "u", "link", "iframe", "object", "a"})
    assert not [name for _, attrs in seen for name, _ in attrs if name.startswith("on") or name in ("src", "href")]
    assert "&lt;script&gt;alert(1)" in html
    assert "http" not in html.split("</style>")[1]
    assert 'lang="ko"' in html
    english = await evaluated(World(), given(language="en"))
    assert english.report


async def test_figures_hold_breakdowns_and_the_worst_answers_first() -> None:
    world = World()
    result = await evaluated(world, given(breakdown="k", metrics=["f1", "succeeded"]))
    one, two = json.loads(await content(world, result.figures))["details"]
    assert one["breakdown"]["x"]["succeeded"]["n"] == 2
    assert one["breakdown"][""]["succeeded"]["n"] == 1
    assert [line["item"] for line in two["worst"]] == ["b", "a"], "the failed answer before the wrong one"
    assert two["worst"][1]["contexts"] == ["본문 d9", "본문 d1"]


async def test_gates_are_told_with_their_values() -> None:
    gates = [
        {"metric": "f1", "min": 0.9},
        {"metric": "recall@5", "variant": "one", "min": 0.9},
        {"metric": "f1", "not_worse_than": "two"},
        {"metric": "bleu", "not_worse_than": "one", "by": 1},
    ]
    result = await evaluated(World(), given(gates=gates, metrics=["f1", "recall@5"]))
    told = [(gate.variant, gate.metric, gate.value, gate.passed) for gate in result.gates]
    assert told == [
        ("one", "f1", 1.0, True),
        ("two", "f1", 0.0, False),
        ("one", "recall@5", 0.75, False),
        ("one", "f1", 1.0, True),
        ("two", "bleu", None, False),
    ]
    assert result.passed is False
    assert (await evaluated(World(), given(gates=gates[2:3]))).passed is True
    assert (await evaluated(World(), given())).passed is None


async def test_a_variant_that_fails_where_the_other_answers_is_worse() -> None:
    answers = ANSWERS | {"1/two": inference("정답 하나", ["d1"])}  # its other answer failed
    gates = [{"metric": "exact_match", "not_worse_than": "one", "variant": "two"}]
    result = await evaluated(World(), given(gates=gates), answers)
    assert result.variants[1].metrics["exact_match"].mean == 1.0
    [gate] = result.gates
    assert gate.value is not None
    assert gate.value < 0
    assert not gate.passed


async def test_a_grader_stands_beside_the_metrics_and_in_gates() -> None:
    grader = {"type": "expression", "name": "short", "expression": "len(answer) < 7"}
    world = World()
    input = given(metrics=["f1"], graders=[grader], gates=[{"metric": "short", "min": 0.9}])
    result = await evaluated(world, input)
    one, two = result.variants
    assert list(one.metrics) == ["f1", "short"]
    assert one.metrics["short"].mean == 1
    assert (two.metrics["short"].n, two.metrics["short"].missing) == (2, 1), "the failed answer has no grade"
    assert [gate.passed for gate in result.gates] == [True, False]
    table = parquet.read_table(io.BytesIO(await content(world, result.items_parquet)))
    assert table.column("short").to_pylist() == [1.0, 1.0, 1.0, None, 1.0, 1.0]
    assert "직접 정한 채점" in (await content(world, result.report)).decode()


async def test_runs_are_compared_item_by_item() -> None:
    world = World()
    old = await evaluated(world, given())
    other = [ITEMS[0], {**ITEMS[1], "question": "another question?"}]
    again = await evaluated(world, given(items=other, variants=[{"name": "one"}]))
    # The same job publishes under the same names, so the first run's file is put back.
    world.files.named[old.items_file or ""] = world.files.named[again.items_file or ""]
    input = {
        "runs": [
            {"name": "A", "items_file": again.items_file},
            {"name": "B", "items_file": old.items_file, "variant": "one"},
        ]
    }
    outcome = await stage("evaluation", "plan")(world.job("evaluation", "plan", input), world.ports)
    assert isinstance(outcome, Next)
    result = await reported(world, input, outcome.carry)
    assert [one.name for one in result.variants] == ["A", "B"]
    [comparison] = result.comparisons
    assert (comparison.variant, comparison.baseline) == ("B", "A")
    assert comparison.metrics["f1"].gain == 0
    assert result.items_file is None


async def test_an_earlier_run_must_be_one() -> None:
    world = World()
    uploaded = world.upload(b"{}", "items.jsonl")
    for file, error, code in (
        (uploaded, InvalidInput, "items_file_wrong"),
        (f"file_{'0' * 32}", NotFound, "file_not_found"),
    ):
        input = {"runs": [{"name": "A", "items_file": file}, {"name": "B", "items_file": file}]}
        outcome = await stage("evaluation", "plan")(world.job("evaluation", "plan", input), world.ports)
        assert isinstance(outcome, Next)
        with pytest.raises(error) as refused:
            await reported(world, input, outcome.carry)
        assert refused.value.reason == code


@pytest.mark.parametrize(
    ("data", "name", "code", "said"),
    [
        (
            b'{"question": "?", "reference": "a"}\n{"question": "?"}',
            "q.jsonl",
            "dataset_invalid",
            "row 2 has no reference",
        ),
        (b'{"question": "?"}\n{"question": 3}', "q.jsonl", "dataset_invalid", "row 2: its 'question' is a number"),
        (b"question\n", "q.csv", "dataset_empty", "holds no item"),
        (b"", "q.jsonl", "dataset_empty", "holds no item"),
        (b"question\n?", "q.txt", "dataset_format_unknown", "does not tell the format"),
        (b"a\n?", "q.csv", "column_missing", "no column 'question'"),
    ],
)
async def test_an_unusable_dataset_stops_the_run_before_anything_is_asked(
    data: bytes, name: str, code: str, said: str
) -> None:
    world = World()
    file = world.upload(data, name)
    with pytest.raises(InvalidInput, match=said) as refused:
        await planned(world, {"dataset": {"file": file}, "collection": "ko"})
    assert refused.value.reason == code


async def test_a_dataset_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_ITEMS", 3)
    world = World()
    file = world.upload(b"question\n" + b"?\n" * 4, "q.csv")
    with pytest.raises(InvalidInput, match="more than 3 items") as refused:
        await planned(world, {"dataset": {"file": file}, "collection": "ko"})
    assert refused.value.reason == "dataset_too_large"


async def test_metrics_that_cannot_be_had_are_refused_when_they_are_asked_for() -> None:
    for asked in (
        {"metrics": ["f1"], "items": [{"question": "?"}]},
        {"metrics": ["f1"], "variants": [{"name": "r", "generate": None}]},
    ):
        with pytest.raises(InvalidInput) as refused:
            await planned(World(), given(**asked))
        assert (refused.value.reason, refused.value.field) == ("metric_not_possible", "input.metrics")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"items": None}, "give one of"),
        ({"collection": None}, "give a `collection`: the variant 'one' has none"),
        ({"variants": [{"name": "a"}, {"name": "a"}]}, "the same name"),
        ({"variants": [{"name": "a", "kind": "generation", "prompt": "hello"}]}, "must hold"),
        ({"gates": [{"metric": "mine", "min": 0.5}]}, "there is no metric 'mine'"),
        ({"graders": [{"type": "expression", "name": "a", "expression": "True"}] * 2}, "two graders"),
        ({"metrics": ["recall@0"]}, "there is no metric 'recall@0'"),
        ({"gates": [{"metric": "f1"}]}, "either `min` or `not_worse_than`"),
        ({"gates": [{"metric": "f1", "min": 0.5, "variant": "three"}]}, "none of one, two"),
        ({"runs": [{"name": n, "items_file": f"file_{'0' * 32}"} for n in "ab"], "items": None}, "answered already"),
    ],
)
def test_what_contradicts_itself_is_refused_at_submission(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        World().job("evaluation", "plan", given(**changes))


def test_f1_reads_morphemes_without_particles_endings_and_commas_in_numbers() -> None:
    cut = {
        "높이는 1947미터다": [
            Morpheme(*one.split("/")) for one in ["높이/NNG", "는/JX", "1947/SN", "미터/NNB", "이/VCP", "다/EF"]
        ],
        "1,947미터": [Morpheme("1,947", "SN"), Morpheme("미터", "NNB")],
    }
    item = Item(id="a", row=1, question="?", references=["1,947미터"])
    found = scores(["f1", "rouge_l"], item, Given(succeeded=True, text="높이는 1947미터다"), cut.get)
    assert found == {"f1": pytest.approx(4 / 5), "rouge_l": pytest.approx(4 / 8)}


def test_a_text_that_cannot_be_analysed_is_a_missing_score_and_not_found_is_no_answer() -> None:
    item = Item(id="a", row=1, question="?", references=["답"])
    names = ["f1", "exact_match"]
    assert scores(names, item, Given(succeeded=True, text="답"), lambda _: None) == {"f1": None, "exact_match": 1.0}
    none = scores(names, item, Given(succeeded=True, text="답", found=False), lambda _: [Morpheme("답", "NNG")])
    assert none == {"f1": 0.0, "exact_match": 0.0}


async def test_a_plan_for_runs_goes_straight_to_the_report() -> None:
    file = f"file_{'1' * 32}"
    input = {"runs": [{"name": "A", "items_file": file}, {"name": "B", "items_file": file, "variant": "v"}]}
    outcome = await stage("evaluation", "plan")(World().job("evaluation", "plan", input), World().ports)
    assert isinstance(outcome, Next)
    assert isinstance(outcome.carry, Scored)
    assert [(s.variant, s.name) for s in outcome.carry.sources] == [(None, "A"), ("v", "B")]


async def test_the_page_warns_in_its_language_and_the_result_in_english() -> None:
    world = World()
    result = await evaluated(world, given())
    assert "1 of 6 answers failed (engine_error): it broke; `strict` counts them as 0" in result.warnings
    assert "답변 6개 중 1개가 실패했습니다 (engine_error): it broke" in (await content(world, result.report)).decode()
    other = World()
    english = await evaluated(other, given(language="en"))
    assert "<li>1 of 6 answers failed" in (await content(other, english.report)).decode()
