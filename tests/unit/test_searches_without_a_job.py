"""A search without a job: the same hits as the job's, in turn among the tenants, within its time."""

import asyncio
from typing import Any

import orjson
import pytest

from consumers.searches import answering
from consumers.searches.answering import Answering, SearchesFull, TooManySearches
from consumers.stages.ports import Ports, needs
from infra.searches.server import Question
from schemas.collections import CollectionSettings, FusionSettings
from schemas.errors import Conflict, InvalidInput, JobError, NotFound, StageTimeout
from schemas.kinds.inference import InferenceInput
from schemas.searches import HIT, Hits
from tests.unit.test_stages_inference import BUSAN, DENSE, SEOUL, Angles, Deployment, Longest, Words, shelf

OPENED = needs(Ports.catalogue, Ports.embedder, Ports.index, Ports.sparse)
WITH_RERANKER = OPENED | {Ports.reranker}
DEADLINE_S = 30


def question(tenant: str = "t", **request: Any) -> Question:
    asked = InferenceInput(**{"collection": "c", "question": "서울 인구", "generate": None, **request})
    return Question(tenant, asked.model_dump_json().encode(), None)


async def searched(here: Deployment, **request: Any) -> list[dict[str, Any]] | None:
    body = await Answering(here.ports, WITH_RERANKER, at_once=1).answer(question(**request))
    return None if body is None else orjson.loads(body)["data"]


CAPPED = CollectionSettings(fusion=FusionSettings(per_document=1))


@pytest.mark.parametrize(
    ("here", "request_"),
    [
        (lambda: Deployment(shelf(SEOUL, BUSAN)), {}),
        (lambda: Deployment(shelf(SEOUL, BUSAN)), {"top_k": 1}),
        (lambda: Deployment(shelf(SEOUL, BUSAN)), {"filter": {"year": 2024}}),
        (lambda: Deployment(shelf(SEOUL, BUSAN)), {"question": "?!"}),
        (lambda: Deployment(shelf(SEOUL, BUSAN, settings=CAPPED)), {}),
        (lambda: Deployment(shelf(SEOUL, BUSAN, **DENSE), embedder=Angles()), {}),
        (lambda: Deployment(shelf(SEOUL, BUSAN), reranker=Longest()), {"top_k": 1}),
        (lambda: Deployment(shelf(SEOUL, BUSAN), reranker=Longest()), {"rerank": False}),
    ],
)
async def test_the_hits_are_those_of_the_job(here: Any, request_: dict[str, Any]) -> None:
    job = await here().ask(generate=None, **request_)
    found = await searched(here(), **request_)
    assert found == [one.model_dump(include=set(HIT)) for one in job.citations]
    Hits.model_validate({"data": found}, strict=True)


@pytest.mark.parametrize(
    ("here", "request_", "error", "code"),
    [
        (lambda: Deployment(shelf(SEOUL)), {"collection": "other"}, NotFound, "collection_not_found"),
        (lambda: Deployment(shelf()), {}, Conflict, "collection_empty"),
        (lambda: Deployment(shelf(SEOUL)), {"filter": {"colour": "red"}}, InvalidInput, "filter_field_unknown"),
        (lambda: Deployment(shelf(SEOUL)), {"rerank": True}, InvalidInput, "reranker_missing"),
        (lambda: Deployment(shelf(SEOUL, encoder="old")), {}, Conflict, "encoder_mismatch"),
        (lambda: Deployment(shelf(SEOUL, doubt="index_older")), {}, Conflict, "index_restored"),
    ],
)
async def test_the_errors_are_those_of_the_job(
    here: Any, request_: dict[str, Any], error: type[JobError], code: str
) -> None:
    told = []
    for answer in (here().ask(generate=None, **request_), searched(here(), **request_)):
        with pytest.raises(error) as caught:
            await answer
        told.append((caught.value.reason, caught.value.message, caught.value.field))
    assert told[0] == told[1]
    assert told[0][0] == code


async def test_what_needs_a_model_of_another_pool_is_left_to_a_job() -> None:
    dense = Deployment(shelf(SEOUL, **DENSE), embedder_name="angles")
    assert await searched(dense) is None
    assert dense.words.questions == [], "nothing was begun"
    reranked = Deployment(shelf(SEOUL), reranker_name="longest")
    here = Answering(reranked.ports, OPENED, at_once=1)
    assert await here.answer(question()) is None
    assert await here.answer(question(rerank=False)) is not None


class Slow(Words):
    """Encodes a question when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def encode_query(self, text: str, settings: Any, *, by: Any) -> Any:
        self.questions.append(by.tenant)
        await self.go_on.wait()
        return await super().encode_query(text, settings, by=by)


async def until(count: int, words: Slow) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while len(words.questions) < count:
            await asyncio.sleep(0)


async def test_a_tenant_that_floods_delays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "WAITING_OF_A_TENANT", 2)
    words = Slow()
    here = Answering(Deployment(shelf(SEOUL), words=words).ports, OPENED, at_once=2)
    flood = [asyncio.create_task(here.answer(question("flood"))) for _ in range(4)]
    await until(2, words)
    with pytest.raises(TooManySearches):
        await here.answer(question("flood"))
    other = asyncio.create_task(here.answer(question("other")))
    await asyncio.sleep(0)
    words.questions.clear()
    words.go_on.set()
    assert await other is not None
    assert all(await asyncio.gather(*flood))
    waited = [tenant for tenant in words.questions if tenant in ("flood", "other")]
    assert waited[0] == "other", "its turn comes before what the flood left waiting"
    assert await here.answer(question("flood")) is not None, "there is room again"


async def test_a_full_worker_refuses_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "WAITING", 0)
    words = Slow()
    here = Answering(Deployment(shelf(SEOUL), words=words).ports, OPENED, at_once=1)
    running = asyncio.create_task(here.answer(question("one")))
    await until(1, words)
    with pytest.raises(SearchesFull) as caught:
        await here.answer(question("two"))
    assert caught.value.retryable
    words.go_on.set()
    assert await running is not None


async def test_a_search_has_a_time_limit_and_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "ANSWER_WITHIN_S", 0.01)
    words = Slow()
    here = Answering(Deployment(shelf(SEOUL), words=words).ports, OPENED, at_once=1)
    for _ in range(2):
        with pytest.raises(StageTimeout):
            await here.answer(question())
    monkeypatch.setattr(answering, "ANSWER_WITHIN_S", DEADLINE_S)
    words.go_on.set()
    assert await here.answer(question()) is not None
