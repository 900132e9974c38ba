"""The check of a dataset without any process: what is found in its rows, how it is scored, and what is refused."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from consumers.stages.ports import ChildSummary
from consumers.stages.registry import stage
from schemas.errors import InvalidInput, JobError, NotFound
from schemas.kinds.dataset import DatasetResult
from schemas.lifecycle import JobState
from schemas.outcomes import Done, FanOut, Next, Outcome
from schemas.topics import Lane
from tests.unit.ports_in_memory import World

TOPICS = ["산", "강", "바다", "도시", "나라", "음식", "역사", "노래", "영화", "운동"]
"""Questions about these have little in common but their ends."""


def questions(count: int = 24) -> list[dict[str, Any]]:
    """Good ones, each different from all others."""
    words = [f"{TOPICS[n % 10]}{TOPICS[n // 10]}" for n in range(count)]
    return [
        {
            "id": f"q{n}",
            "question": f"{word}{word[::-1]}에 관한 {word * 2} 이야기는?",
            "reference": f"답은 {word}{n}이다",
        }
        for n, word in enumerate(words)
    ]


def lines(rows: Sequence[Any]) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows).encode()


async def profiled(world: World, input: dict[str, Any]) -> Outcome:
    return await stage("dataset", "profile")(world.job("dataset", "profile", input), world.ports)


async def reported(world: World, input: dict[str, Any], carry: Any) -> DatasetResult:
    done = await stage("dataset", "report")(world.job("dataset", "report", input, carry), world.ports)
    assert isinstance(done, Done)
    return DatasetResult.model_validate(done.result)


async def checked(rows: Sequence[Any], name: str = "q.jsonl", world: World | None = None, **more: Any) -> DatasetResult:
    world = world or World()
    input = {"dataset": {"file": world.upload(lines(rows), name)}, **more}
    onward = await profiled(world, input)
    assert isinstance(onward, Next)
    return await reported(world, input, onward.carry)


async def findings(world: World, result: DatasetResult) -> list[dict[str, Any]]:
    data = await world.blobs.get((await world.files.find(result.findings_file)).blob)
    return [json.loads(line) for line in data.splitlines()]


async def test_nothing_is_wrong_with_good_questions() -> None:
    result = await checked(questions())
    assert result.counts == {}
    assert (result.form, result.rows, result.score, result.passed) == ("questions", 24, 1.0, True)
    assert result.parts == {
        "valid": 1.0,
        "unique": 1.0,
        "complete": 1.0,
        "language": 1.0,
        "clean": 1.0,
        "apart": None,
        "answerable": None,
    }
    assert result.languages == {"ko": 24}
    assert result.lengths["question"].rows == result.lengths["reference"].rows == 24
    assert result.lengths["question"].min <= result.lengths["question"].p50 <= result.lengths["question"].max


async def test_each_fault_is_found_in_its_row_and_lowers_its_part() -> None:
    good = questions()
    faults: list[Any] = [
        "{not json",
        {"id": "q0", "question": "또 다른 q0?"},
        {"id": "again", **{name: good[1][name] for name in ("question", "reference")}},
        {"id": "other", "question": good[2]["question"].upper() + " ", "reference": "전혀 다른 답"},
        {"id": "near", "question": good[3]["question"].replace("는?", "은?"), "reference": "답"},
        {"id": "empty", "question": "정답이 없는 물음표 하나?"},
        {"id": "latin", "question": "Which mountain is the highest one?", "reference": "Halla"},
        {"id": "long", "question": "지명을 모두 순서대로 대면?", "reference": "".join(map(chr, range(0xAC00, 0xB400)))},
        {"id": "broken", "question": "글자가 깨진 \ufffd 물음은?", "reference": "깨짐"},
        {"id": "html", "question": "줄이 <br> 바뀐 문장은?", "reference": "표식"},
        {"id": "echo", "question": "메아리는 무엇을 되풀이하나요?", "reference": "메아리는 무엇을 되풀이하나요"},
        {"id": "same", "question": "되풀이되는 글은?", "reference": "가나다라마바사 " * 60},
    ]
    world = World()
    result = await checked([*good, *faults], world=world)
    found = await findings(world, result)
    assert [one["row"] for one in found] == sorted(one["row"] for one in found)
    by_code: dict[str, list[int]] = {}
    for one in found:
        by_code.setdefault(one["code"], []).append(one["row"])
    first = len(good) + 1
    assert by_code["invalid"] == [first, first + 1]
    assert by_code["duplicate"] == [first + 2]
    assert by_code["contradiction"] == [first + 3]
    assert by_code["near_duplicate"] == [first + 4]
    assert by_code["empty"] == [first + 5]
    assert by_code["language"] == [first + 6]
    assert first + 7 in by_code["length"]
    assert by_code["characters"] == [first + 8]
    assert by_code["markup"] == [first + 9]
    assert by_code["echo"] == [first + 10]
    assert by_code["repetition"] == [first + 11]
    assert result.rows == len(good) + len(faults)
    assert result.score == pytest.approx(len(good) / result.rows, abs=1e-4)
    assert result.parts["valid"] == pytest.approx(1 - 2 / result.rows, abs=1e-4)
    assert not result.passed, "a row is not valid"
    near = next(one for one in found if one["code"] == "near_duplicate")
    assert (near["other"], near["id"]) == (4, "near")
    assert near["similarity"] >= 0.85


async def test_a_low_score_does_not_pass() -> None:
    good = questions()
    rows = [*good, {**good[0], "id": "again"}]
    assert (await checked(rows, min_score=0.9)).passed
    assert not (await checked(rows, min_score=0.99)).passed


async def test_questions_of_the_training_data_leak() -> None:
    world, good = World(), questions()
    near = good[1]["question"].replace("는?", "은?")
    train = [
        {"messages": [{"role": "user", "content": good[0]["question"]}, {"role": "assistant", "content": "답"}]},
        {"messages": [{"role": "user", "content": near}, {"role": "assistant", "content": "답"}]},
    ]
    against = {"file": world.upload(lines(train), "train.jsonl")}
    result = await checked(good, world=world, against=against)
    assert result.counts == {"leaked": 1, "nearly_leaked": 1}
    assert [(one.row, one.other) for one in result.findings] == [(1, 1), (2, 2)]
    assert result.parts["apart"] == pytest.approx(1 - 2 / 24, abs=1e-4)
    assert not result.passed


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"messages": [{"role": "user", "content": "물음"}, {"role": "assistant", "content": "답"}]}, "sft"),
        ({"prompt": "물음", "completion": "답"}, "sft"),
        ({"prompt": "물음", "chosen": "좋은 답", "rejected": "나쁜 답"}, "dpo"),
        ({"prompt": "물음", "completion": "답", "label": True}, "kto"),
    ],
)
async def test_columns_tell_what_the_rows_are(row: dict[str, Any], form: str) -> None:
    result = await checked([row, row, {"prompt": 1}])
    assert (result.form, result.rows) == (form, 3)
    assert result.counts == {"duplicate": 1, "invalid": 1}


async def test_columns_have_the_names_that_the_input_gives() -> None:
    world = World()
    file = world.upload("질문,정답\n하나는?,1\n하나는?,1\n".encode(), "q.csv")
    input = {"dataset": {"file": file, "question": "질문", "reference": "정답"}}
    onward = await profiled(world, input)
    assert isinstance(onward, Next)
    assert (await reported(world, input, onward.carry)).counts == {"duplicate": 1}


async def indexed(world: World, *ids: str) -> None:
    input = {"collection": "ko", "documents": [{"id": id, "text": f"{id}에 관한 글."} for id in ids]}
    outcome = await stage("indexing", "plan")(world.job("indexing", "plan", input), world.ports)
    assert isinstance(outcome, FanOut)
    [child] = outcome.children
    prepared = world.job("indexing", "prepare", child.input)
    onward = await stage("indexing", "prepare")(prepared, world.ports)
    assert isinstance(onward, Next)
    await stage("indexing", "upsert")(world.again(prepared, stage="upsert", carry=onward.carry), world.ports)


def searched(key: str, *documents: str, text: str = "본문", failed: bool = False) -> ChildSummary:
    passages = [
        {"document_id": id, "chunk_id": id, "text": text, "score": 1.0, "start": 0, "end": 2} for id in documents
    ]
    result = {"answer": None, "found": bool(passages), "citations": passages, "model": None}
    error = {"code": "index_missing", "message": "gone", "retryable": False}
    state = JobState.FAILED if failed else JobState.SUCCEEDED
    return ChildSummary(key, "inference", 1, state, {}, None if failed else result, error if failed else None, uuid4())


async def test_questions_are_looked_for_in_the_collection() -> None:
    world = World()
    await indexed(world, "d1", "d2")
    rows = [
        {"question": "문서가 찾아지는 물음?", "relevant": "d1", "reference": "가"},
        {"question": "다른 문서만 찾아지는 물음?", "relevant": ["d2"], "reference": "나"},
        {"question": "없는 문서를 말하는 물음?", "relevant": ["d9"], "reference": "다"},
        {"question": "정답이 본문에 있는 물음?", "reference": "바로 그 답"},
        {"question": "정답이 본문에 없는 물음?", "reference": "어디에도 없는 답"},
        {"question": "답이 없다고 알려진 물음?", "answerable": False},
        {"question": "검색이 실패하는 물음?", "relevant": "d1", "reference": "라"},
    ]
    input = {"dataset": {"file": world.upload(lines(rows), "q.jsonl")}, "collection": "ko", "top_k": 3}
    outcome = await profiled(world, input)
    assert isinstance(outcome, FanOut)
    assert outcome.lane is Lane.BULK
    assert [child.key for child in outcome.children] == ["1", "2", "3", "4", "5", "7"]
    assert all(child.input.generate is None and child.input.top_k == 3 for child in outcome.children)
    world.children.summaries = [
        searched("1", "d2", "d1"),
        searched("2", "d1"),
        searched("3", "d1"),
        searched("4", "d1", text="앞. 바로 그 답, 뒤."),
        searched("5", "d1"),
        searched("7", failed=True),
    ]
    result = await reported(world, input, outcome.carry)
    assert result.retrieval is not None
    assert result.retrieval.model_dump() == {"asked": 6, "found": 2, "failed": 1}
    told = {(one["row"], one["code"]) for one in await findings(world, result)}
    assert told == {
        (2, "not_retrieved"),
        (3, "not_retrieved"),
        (3, "relevant_unknown"),
        (4, "empty"),
        (5, "empty"),
        (5, "not_retrieved"),
    }
    assert result.parts["answerable"] == pytest.approx(1 - 3 / 7, abs=1e-4)
    assert result.warnings == ["1 of 6 searches failed: they count neither way"]


async def test_the_tracker_gets_score_parts_and_counts() -> None:
    world, good = World(), questions()
    result = await checked([*good, {**good[0], "id": "again"}], world=world, experiment="sets", title="v1")
    assert result.tracking is not None
    assert result.tracking.experiment == "t/sets"
    run = world.tracker.runs[""]
    assert run.name == "v1"
    assert run.tags["welip.file.sha256"] == result.sha256
    figures = world.tracker.metrics[""]
    assert (figures["score"], figures["rows.duplicate"], figures["part.unique"]) == (result.score, 1.0, result.score)
    assert figures["question.p50"] == result.lengths["question"].p50
    world.tracker = type(world.tracker)(off=True)
    assert (await checked(good, world=world)).tracking is None


async def test_what_was_written_on_the_way_is_removed() -> None:
    world = World()
    result = await checked(questions(), world=world)
    kept = {(await world.files.find(result.findings_file)).blob}
    assert {key for key in world.blobs.data if "/files/" not in key or key in kept} == kept


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"", "q.jsonl", "dataset_empty"),
        (b"question\n", "q.csv", "dataset_empty"),
        (b"", "q.csv", "dataset_unreadable"),
        (b'{"text": "no question"}', "q.jsonl", "column_missing"),
        (b"{}", "q.xlsx", "dataset_format_unknown"),
        (b"PAR1 no", "q.parquet", "dataset_unreadable"),
    ],
)
async def test_what_is_no_dataset_fails_with_a_code(data: bytes, name: str, code: str) -> None:
    world = World()
    with pytest.raises(InvalidInput) as refused:
        await profiled(world, {"dataset": {"file": world.upload(data, name)}})
    assert refused.value.reason == code


async def test_a_file_or_a_collection_that_is_not_there_is_named() -> None:
    world = World()
    with pytest.raises(NotFound, match="there is no file"):
        await profiled(world, {"dataset": {"file": "file_" + "0" * 32}})
    with pytest.raises(NotFound):
        await profiled(world, {"dataset": {"file": world.upload(b"{}", "q.jsonl")}, "collection": "nowhere"})


async def test_examples_of_a_training_are_not_looked_for_in_a_collection() -> None:
    world = World()
    await indexed(world, "d1")
    file = world.upload(lines([{"prompt": "a", "completion": "b"}]), "q.jsonl")
    with pytest.raises(JobError) as refused:
        await profiled(world, {"dataset": {"file": file}, "collection": "ko"})
    assert refused.value.reason == "form_wrong"
