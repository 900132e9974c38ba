"""Inference: retrieval alone, answers with citations, and clear words where there is nothing to ask."""

import json
from typing import Any

import pytest

from consumers.stages.inference import generate, retrieve
from consumers.stages.ports import StoredDocument
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.kinds.inference import InferenceResult
from schemas.outcomes import Done, Next
from schemas.retrieval import Point
from tests.unit.ports_in_memory import LengthEmbedder, World


async def world_with(*texts: str) -> World:
    world = World()
    await world.catalogue.ensure_collection("t", "c", encoder="words", embedder=None)
    await world.index.ensure("t", "c", dimension=None)
    points = [
        Point(f"p{n}", f"d{n}", "h", None, text, 0, len(text), world.sparse.encode_query(text), metadata={"n": n})
        for n, text in enumerate(texts)
    ]
    await world.index.upsert("t", "c", points)
    await world.catalogue.record_documents("t", "c", [StoredDocument(p.document_id, "h", 1, 1) for p in points])
    return world


async def ask(world: World, **request: Any) -> InferenceResult:
    request = {"collection": "c", "question": "서울 인구", **request}
    outcome = await retrieve.run(world.job("inference", "retrieve", request), world.ports)
    if isinstance(outcome, Next):
        carried = json.loads(json.dumps(outcome.carry))
        outcome = await generate.run(world.job("inference", outcome.stage, request, carried), world.ports)
    assert isinstance(outcome, Done)
    return InferenceResult.model_validate(json.loads(json.dumps(outcome.result)))


async def test_an_answer_with_citations_and_timings() -> None:
    result = await ask(await world_with("부산 바다", "서울 인구 천만"))
    assert (result.answer, result.found, result.model) == ("서울 인구 천만 [1]", True, "first")
    assert [(c.document_id, c.chunk_id, c.metadata) for c in result.citations] == [("d1", "p1", {"n": 1})]
    assert set(result.timings_ms) == {"queue", "retrieve", "generate", "total"}
    assert result.timings_ms["queue"] == pytest.approx(1000, abs=1)
    assert result.timings_ms["total"] >= 2000


async def test_retrieval_alone_ends_after_one_stage() -> None:
    world = await world_with("서울 인구 천만", "서울 강남", "부산")
    result = await ask(world, generate=None, top_k=2, filter={"n": [0, 1]})
    assert (result.answer, result.model, result.found) == (None, None, True)
    assert [c.document_id for c in result.citations] == ["d0", "d1"]
    assert world.index.searches == [{"dense": None, "top_k": 2, "filter": {"n": [0, 1]}}]
    assert set(result.timings_ms) == {"queue", "retrieve", "total"}
    assert not (await ask(world, generate=None, question="아무도 모르는 말")).found


async def test_the_embedder_is_asked_where_there_is_one() -> None:
    world = await world_with("서울")
    world.embedder = LengthEmbedder()
    await ask(world, generate=None)
    assert world.index.searches[0]["dense"] == LengthEmbedder().embed_query("서울 인구")


async def test_a_question_of_signs_finds_nothing_and_says_so() -> None:
    world = await world_with("서울")
    result = await ask(world, question="?!")
    assert (result.found, result.citations, world.index.searches) == (False, [], [])


async def test_unknown_and_empty_collections_have_codes_of_their_own() -> None:
    with pytest.raises(NotFound, match="kind `indexing`") as unknown:
        await ask(World())
    assert unknown.value.reason == "collection_not_found"
    with pytest.raises(Conflict, match="holds no document") as empty:
        await ask(await world_with())
    assert empty.value.reason == "collection_empty"


async def test_a_model_that_is_not_here_is_refused() -> None:
    world = await world_with("서울")
    with pytest.raises(InvalidInput, match="'default' or 'first'") as caught:
        await ask(world, generate={"model": "gpt"})
    assert caught.value.reason == "model_unknown"
    assert (await ask(world, generate={"model": "first"})).found
