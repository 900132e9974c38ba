"""Questions written by a model, without any process: passages are drawn, replies read, questions accepted or not."""

import csv
import io
import json
from typing import Any
from uuid import uuid4

import pytest

from consumers.stages.ports import ChildSummary
from consumers.stages.registry import stage
from consumers.stages.synthesis.verify import flags_of
from infra.corpora.items import read_items
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.kinds.evaluation.items import Dataset, Item
from schemas.kinds.synthesis import SynthesisResult
from schemas.lifecycle import JobState
from schemas.models import ModelNotFound, Models, OpenAIModel
from schemas.outcomes import Child, Done, FanOut, Next
from schemas.topics import Lane
from tests.unit.ports_in_memory import World

MODELS = Models((OpenAIModel(name="writer", engine="openai", url="http://writer/v1"),))
TEXTS = {
    "halla": "한라산은 제주도에 있는 산이며 높이는 천구백 미터가 넘는다.",
    "han": "한강은 서울을 가로질러 서해로 흐르는 큰 강으로 다리가 많다.",
    "paju": "파주에는 책을 만드는 회사가 모인 도시가 있고 도서관도 크다.",
    "nile": "The Nile is the longest river of Africa and flows to the north.",
}


async def world(texts: dict[str, str] = TEXTS) -> World:
    made = World(models=MODELS)
    documents = [{"id": id, "title": f"<{id}>", "text": text} for id, text in texts.items()]
    input = {"collection": "ko", "documents": documents}
    outcome = await stage("indexing", "plan")(made.job("indexing", "plan", input), made.ports)
    assert isinstance(outcome, FanOut)
    for child in outcome.children:
        job = made.job("indexing", "prepare", child.input)
        onward = await stage("indexing", "prepare")(job, made.ports)
        assert isinstance(onward, Next)
        await stage("indexing", "upsert")(made.again(job, stage="upsert", carry=onward.carry), made.ports)
    return made


def given(**changes: Any) -> dict[str, Any]:
    return {"collection": "ko", "model": "writer", "count": 4, "min_chars": 10, **changes}


async def sampled(there: World, input: dict[str, Any]) -> FanOut:
    outcome = await stage("synthesis", "sample")(there.job("synthesis", "sample", input), there.ports)
    assert isinstance(outcome, FanOut)
    return outcome


def wrote(child: Child, text: str | None) -> ChildSummary:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    result = {"message": message, "finish_reason": "stop", "model": "writer-1", "usage": usage}
    error = {"code": "engine_error", "message": "it broke", "retryable": False}
    if text is None:
        return ChildSummary(child.key, "generation", 1, JobState.FAILED, {}, None, error, uuid4())
    return ChildSummary(child.key, "generation", 1, JobState.SUCCEEDED, {}, result, None, uuid4())


def document_of(child: Child) -> str:
    """The document that a child is asked about, by the title that it is told."""
    told = child.input.messages[-1].content  # type: ignore[union-attr]
    return next(id for id in TEXTS if f"<{id}>" in told)


def replied(question: str, answer: str) -> str:
    return f"```json\n{json.dumps({'question': question, 'answer': answer}, ensure_ascii=False)}\n```"


GOOD = {
    "halla": replied("제주도에 있는 산의 높이는 얼마인가요?", "천구백 미터가 넘는다"),
    "han": replied("서울을 지나는 강은 어디로 흘러가나요?", "서해로 흐르는"),
    "paju": replied("책을 만드는 회사가 모인 곳은 어디인가요?", "파주에는"),
    "nile": replied("Which river of Africa is the longest?", "The Nile"),
}


async def test_each_passage_is_asked_about_in_its_language_in_the_bulk_lane() -> None:
    there = await world()
    fan_out = await sampled(there, given())
    assert fan_out.lane is Lane.BULK
    assert {document_of(child) for child in fan_out.children} == set(TEXTS)
    for child in fan_out.children:
        assert child.kind == "generation"
        system, user = (one.content for one in child.input.messages)  # type: ignore[union-attr]
        assert TEXTS[document_of(child)] in user
        assert ("You read a passage" in system) is (document_of(child) == "nile")
        assert child.input.model == "writer"  # type: ignore[union-attr]


async def test_the_same_seed_draws_the_same_passages() -> None:
    many = {f"d{n}": f"{n}번째 문서는 {'가나다라마'[n % 5]}에 관한 긴 글이다." for n in range(40)}
    there = await world(many)
    asked = [[child.input for child in (await sampled(there, given(seed=seed))).children] for seed in (1, 1, 2)]
    assert asked[0] == asked[1]
    assert asked[0] != asked[2]
    assert len(asked[0]) == 5, "a quarter more than are wanted"


async def synthesised(
    there: World, input: dict[str, Any], replies: dict[str, str | None], lost: str = ""
) -> SynthesisResult:
    """All stages. A search finds the document that was asked about, but not `lost`."""
    fan_out = await sampled(there, input)
    there.children.summaries = [wrote(child, replies[document_of(child)]) for child in fan_out.children]
    documents = {child.key: document_of(child) for child in fan_out.children}
    job = there.job("synthesis", "verify", input, fan_out.carry)
    onward = await stage("synthesis", "verify")(job, there.ports)
    if isinstance(onward, FanOut):
        assert onward.lane is Lane.BULK
        there.children.summaries = [searched(child, documents[child.key], lost) for child in onward.children]
    assert isinstance(onward, Next | FanOut)
    done = await stage("synthesis", "report")(there.job("synthesis", "report", input, onward.carry), there.ports)
    assert isinstance(done, Done)
    return SynthesisResult.model_validate(done.result)


def searched(child: Child, document: str, lost: str) -> ChildSummary:
    found = [("other", 0, 9), (document, 500, 600), (document, 0, 20)] if document != lost else [("other", 0, 9)]
    passages = [
        {"document_id": id, "chunk_id": id, "text": "본문", "score": 1.0, "start": start, "end": end}
        for id, start, end in found
    ]
    result = {"answer": None, "found": True, "citations": passages, "model": None}
    return ChildSummary(child.key, "inference", 2, JobState.SUCCEEDED, {}, result, None, uuid4())


async def content(there: World, file: str) -> bytes:
    return await there.blobs.get((await there.files.find(file)).blob)


async def test_questions_whose_passage_is_found_are_a_dataset() -> None:
    there = await world()
    result = await synthesised(there, given(), GOOD, lost="paju")
    assert (result.passages, result.accepted, result.flags) == (4, 3, {"not_retrieved": 1})
    assert (result.model, result.usage.prompt_tokens, result.usage.completion_tokens) == ("writer-1", 40, 8)
    file = io.BytesIO(await content(there, result.questions_file))
    items = list(read_items(file, Dataset(file=result.questions_file), "jsonl"))
    assert all(isinstance(item, Item) for item in items)
    by_document = {item.document: item for item in items if isinstance(item, Item)}
    assert set(by_document) == {"halla", "han", "nile"}
    assert by_document["nile"].references == ["The Nile"]
    assert by_document["nile"].relevant == ["nile"]
    assert by_document["nile"].metadata["rank"] == 3, "the first passage of the document does not overlap"


async def test_the_review_file_has_every_question_with_its_passage_and_flags() -> None:
    there = await world()
    result = await synthesised(there, given(), {**GOOD, "han": "모르겠습니다", "paju": None}, lost="halla")
    data = await content(there, result.review_file)
    assert data.startswith("\ufeff".encode())
    rows = {row["relevant"]: row for row in csv.DictReader(io.StringIO(data.decode("utf-8-sig")))}
    assert {id: (row["accepted"], row["flags"]) for id, row in rows.items()} == {
        "halla": ("no", "not_retrieved"),
        "han": ("no", "unreadable"),
        "paju": ("no", "failed"),
        "nile": ("yes", ""),
    }
    assert rows["halla"]["passage"].strip() == TEXTS["halla"]


async def test_a_question_is_asked_once() -> None:
    there = await world()
    same = replied("제주도에 있는 산의 높이는 얼마인가요", "서해로 흐르는")
    result = await synthesised(there, given(), {**GOOD, "han": same, "paju": replied("", "")})
    assert result.flags["duplicate"] == result.flags["nothing_to_ask"] == 1
    assert result.accepted == 2


async def test_no_more_are_accepted_than_were_wanted() -> None:
    there = await world()
    assert (await synthesised(there, given(count=3), GOOD)).accepted == 3


async def test_when_nothing_is_left_the_files_are_empty_and_say_why() -> None:
    there = await world()
    result = await synthesised(there, given(), dict.fromkeys(TEXTS, "no JSON"))
    assert (result.accepted, result.flags) == (0, {"unreadable": 4})
    assert await content(there, result.questions_file) == b""


@pytest.mark.parametrize(
    ("question", "answer", "flags"),
    [
        ("제주도의 산은 얼마나 높은가요?", "천구백 미터가 넘는다.", []),
        ("How high is the mountain?", "천구백 미터", ["language"]),
        ("높이는 천구백 미터가 넘는다", "천구백 미터", ["copied"]),
        ("제주도의 산은 얼마나 높은가요?", "이천오백 킬로미터쯤 된다", ["ungrounded"]),
        ("제주도의 산은 얼마나 높은가요?", "산", []),
    ],
)
def test_a_question_is_flagged_beside_its_passage(question: str, answer: str, flags: list[str]) -> None:
    assert flags_of(question, answer, TEXTS["halla"]) == flags


async def test_what_cannot_be_is_refused_before_a_model_is_asked() -> None:
    there = await world()
    for input, error in [
        (given(model="nobody"), ModelNotFound),
        (given(prompt="rag-ko"), InvalidInput),
        (given(collection="nowhere"), NotFound),
        (given(min_chars=5_000), Conflict),
    ]:
        with pytest.raises(error):
            await sampled(there, input)
