"""Inference: retrieval alone, answers with citations, models in other pools, and a clear message without an answer."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, ClassVar, cast

import pytest
from pydantic import ValidationError

from consumers.stages.inference import encode, generate, rerank, retrieve
from consumers.stages.ports import CatalogueReader, Ports, Served
from consumers.stages.ports import Deployment as Facts
from consumers.stages.registry import stage
from schemas.catalogue import CollectionRecord, Holding
from schemas.collections import CollectionSettings, FusionSettings, FusionWeights, SparseSettings
from schemas.errors import (
    Conflict,
    DependencyMissing,
    DependencyUnavailable,
    EngineRefused,
    EngineReplyBroken,
    EngineReplyEmpty,
    InvalidInput,
    JobError,
    NotFound,
)
from schemas.filters import Condition
from schemas.kinds.inference import InferenceInput, InferenceResult
from schemas.outcomes import Done, Next
from schemas.prompts import Wording
from schemas.requester import Requester
from schemas.retrieval import Embedding, IndexName, Passage, Query, SearchQuestion, SparseVector, Usage
from schemas.text import Message, TextOptions
from tests.unit.models_in_memory import MemoryAdapters
from tests.unit.ports_in_memory import World
from tests.unit.texts_in_memory import FirstPassage

LEARNED = SparseVector((3, 4), (0.5, 0.25))


def chunk(document: str, text: str, score: float, content: str = "now", **more: Any) -> Passage:
    return Passage(
        document, f"{document}-{content}-{score}", None, text, 0, len(text), score, **more, content_hash=content
    )


class Words:
    name = "words"

    def __init__(self) -> None:
        self.asked: list[SparseSettings] = []
        self.questions: list[str] = []

    async def encode_query(self, text: str, settings: SparseSettings, *, by: Requester) -> SparseVector:
        self.asked.append(settings)
        self.questions.append(text)
        words = [word for word in text.split() if word.isalpha()]
        return SparseVector(range(len(words)), [1.0] * len(words))


class Angles:
    """A model with two-dimensional vectors."""

    name, dimension, learned = "angles", 2, True

    async def embed_query(self, text: str) -> Embedding:
        return Embedding((math.cos(len(text)), math.sin(len(text))), LEARNED)

    async def embed_documents(self, texts: Sequence[str]) -> list[Embedding]:
        return [await self.embed_query(text) for text in texts]

    async def close(self) -> None:
        return None


class Longest:
    """Ranks the longest text as the most relevant."""

    name = "longest"

    def __init__(self) -> None:
        self.read: list[str] = []
        self.questions: list[str] = []
        self.refuses = ""

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float | JobError]:
        self.questions.append(question)
        self.read += texts
        return [EngineRefused("too long") if text == self.refuses else len(text) / 1000 for text in texts]

    async def close(self) -> None:
        return None


@dataclass
class Shelf:
    """A collection and its index: hits ordered by score, as the index returns them."""

    record: CollectionRecord
    hits: list[Passage] = field(default_factory=list)
    now: dict[str, str] = field(default_factory=dict)
    searches: list[tuple[IndexName, Query, int, FusionSettings, Condition | None]] = field(default_factory=list)
    swap_before_search: bool = False
    read_before: CollectionRecord | None = None
    reads: int = 0

    async def collection(self, tenant: str, name: str) -> CollectionRecord:
        if name != self.record.name:
            raise NotFound(name)
        self.reads += 1
        return self.record

    def remembered(self, tenant: str, name: str) -> CollectionRecord | None:
        return self.read_before

    async def holding(self, tenant: str, name: str, ids: Sequence[str]) -> Holding:
        return Holding(self.record.state, {known: self.now[known] for known in ids if known in self.now})

    async def search(
        self, index: IndexName, query: Query, *, top_k: int, fusion: FusionSettings, filter: Condition | None = None
    ) -> list[Passage]:
        if self.swap_before_search:
            self.swap_before_search = False
            self.record = replace(self.record, generation=self.record.generation + 1)
        self.searches.append((index, query, top_k, fusion, filter))
        if index.generation != self.record.generation:
            raise NotFound("no such index")
        given: dict[str, int] = {}
        found = []
        for hit in sorted(self.hits, key=lambda hit: -hit.score):
            given[hit.document_id] = given.get(hit.document_id, 0) + 1
            if fusion.per_document is None or given[hit.document_id] <= fusion.per_document:
                found.append(hit)
        return found[:top_k]


@dataclass
class Deployment:
    """The ports of a worker, and jobs that run through every stage that the outcomes lead to."""

    shelf: Shelf
    embedder: Angles | None = None
    embedder_name: str | None = None
    reranker: Longest | None = None
    reranker_name: str | None = None
    words: Words = field(default_factory=Words)
    candidates: int = 30
    stages: list[str] = field(default_factory=list)
    answerer: Any = field(default_factory=FirstPassage)
    gpu: "Deployment | None" = None
    """The other pool, if it is not this one."""

    @property
    def ports(self) -> Ports:
        ports = Ports(
            Facts(
                embedder=self.embedder_name or (self.embedder and self.embedder.name),
                reranker=self.reranker_name or (self.reranker and self.reranker.name),
                candidates=self.candidates,
            )
        )
        ports.index = cast(Any, self.shelf)
        ports.sparse = cast(Any, self.words)
        ports.embedder = self.embedder
        ports.reranker = self.reranker
        ports.adapters = MemoryAdapters()
        ports.answerers = Served({"default": self.answerer}, "default")
        ports.catalogue = cast(CatalogueReader, self.shelf)
        return ports

    async def ask(self, **request: Any) -> InferenceResult:
        request = {"collection": "c", "question": "서울 인구", **request}
        outcome: Any = Next("retrieve")
        while isinstance(outcome, Next):
            self.stages.append(outcome.stage)
            worker = self.gpu if self.gpu is not None and outcome.stage != "retrieve" else self
            job = World().job("inference", outcome.stage, request, outcome.carry)
            job = replace(job, started_at=job.created_at + timedelta(seconds=1))
            outcome = await stage("inference", outcome.stage)(job, worker.ports)
        assert isinstance(outcome, Done)
        return InferenceResult.model_validate(json.loads(json.dumps(outcome.result)))


def shelf(*hits: Passage, **record: Any) -> Shelf:
    known: dict[str, Any] = {
        **dict.fromkeys(part.name for part in fields(CollectionRecord)),
        "name": "c",
        "settings": CollectionSettings(),
        "encoder": "words",
        "learned": False,
        "generation": 1,
        "documents": bool(hits),
        "fields": frozenset({"year", "lang"}),
        "state": "now",
    }
    return Shelf(CollectionRecord(**{**known, **record}), list(hits), {hit.document_id: "now" for hit in hits})


SEOUL = chunk(
    "d1", "서울 인구 천만", 0.9, heading="제1장 > 인구", page=3, metadata={"year": 2024}, scores={"sparse": 7.0}
)
BUSAN = chunk("d2", "부산 바다가 넓고 푸르다", 0.5)


async def test_an_answer_with_citations_and_timings() -> None:
    here = Deployment(shelf(SEOUL, BUSAN))
    result = await here.ask()
    assert (result.answer, result.found, result.model) == ("서울 인구 천만 [1]", True, "first")
    (cited,) = result.citations
    assert (cited.document_id, cited.heading, cited.page, cited.metadata) == ("d1", "제1장 > 인구", 3, {"year": 2024})
    assert here.stages == ["retrieve", "generate"]
    assert set(result.timings_ms) == {"queue", "retrieve", "generate", "total"}
    assert result.timings_ms["queue"] == 1000
    assert result.timings_ms["total"] > sum(result.timings_ms[stage] for stage in ("retrieve", "generate"))


async def test_retrieval_alone_ends_after_one_stage() -> None:
    here = Deployment(shelf(SEOUL, BUSAN))
    result = await here.ask(generate=None, top_k=1)
    assert (result.answer, result.model, result.found) == (None, None, True)
    assert [(c.document_id, c.heading, c.page, c.scores) for c in result.citations] == [
        ("d1", "제1장 > 인구", 3, {"sparse": 7.0})
    ]
    assert here.stages == ["retrieve"]
    assert set(result.timings_ms) == {"queue", "retrieve", "total"}


async def test_the_collections_own_settings_are_used() -> None:
    settings = CollectionSettings(
        sparse=SparseSettings(correct_spacing=True), fusion=FusionSettings(method="rrf", per_document=1)
    )
    here = Deployment(shelf(SEOUL, replace(SEOUL, score=0.8), BUSAN, settings=settings))
    found = await here.ask(generate=None)
    assert [citation.document_id for citation in found.citations] == ["d1", "d2"]
    assert here.words.asked == [settings.sparse]
    index, query, _, fusion, _ = here.shelf.searches[0]
    assert (index, fusion) == (IndexName("t", "c", 1), settings.fusion)
    assert (query.dense, query.learned) == (None, None)


async def test_a_question_of_signs_finds_nothing_and_says_so() -> None:
    here = Deployment(shelf(SEOUL))
    result = await here.ask(question="?!")
    assert (result.found, result.citations, here.shelf.searches) == (False, [], [])


class TestWhatMayBeShown:
    async def test_a_hit_of_a_document_that_was_replaced_or_deleted_is_not_shown(self) -> None:
        here = Deployment(shelf(SEOUL, BUSAN, chunk("d1", "옛글", 0.99, "before"), chunk("gone", "지운 글", 0.98)))
        del here.shelf.now["gone"]
        here.shelf.now["d1"] = "now"
        found = await here.ask(generate=None, top_k=2)
        assert [citation.text for citation in found.citations] == [SEOUL.text, BUSAN.text]
        assert len(here.shelf.searches) == 1, "a few stale hits cost no second search"

    async def test_the_search_is_widened_until_enough_current_hits_are_found(self) -> None:
        stale = [chunk("d1", f"옛글 {n}", 1 + n / 100, "before") for n in range(60)]
        here = Deployment(shelf(*stale, SEOUL, BUSAN))
        found = await here.ask(generate=None, top_k=2)
        assert [citation.text for citation in found.citations] == [SEOUL.text, BUSAN.text]
        assert len(here.shelf.searches) > 1

    async def test_stale_chunks_do_not_use_up_what_a_document_may_give(self) -> None:
        settings = CollectionSettings(fusion=FusionSettings(per_document=1))
        stale = [chunk("d1", f"옛글 {n}", 1 + n / 100, "before") for n in range(3)]
        here = Deployment(shelf(*stale, SEOUL, replace(SEOUL, score=0.7), BUSAN, settings=settings))
        found = await here.ask(generate=None, top_k=2)
        assert [citation.text for citation in found.citations] == [SEOUL.text, BUSAN.text]

    async def test_fewer_than_asked_for_when_there_are_no_more(self) -> None:
        here = Deployment(shelf(SEOUL, chunk("d1", "옛글", 0.99, "before")))
        assert len((await here.ask(generate=None, top_k=100)).citations) == 1
        everything = [chunk("d3", f"옛글 {n}", 1 + n, "before") for n in range(1200)]
        here = Deployment(shelf(*everything, SEOUL))
        assert (await here.ask(generate=None)).citations == [], "beyond a thousand stale hits it does not look"

    async def test_a_swap_between_record_and_search_is_followed_once(self) -> None:
        here = Deployment(shelf(SEOUL))
        here.shelf.swap_before_search = True
        assert (await here.ask()).found
        assert [index.generation for index, *_ in here.shelf.searches] == [1, 2]

    async def test_an_index_that_is_gone_is_told_from_a_collection_that_is_not_there(self) -> None:
        here = Deployment(shelf(SEOUL))

        async def search(*_: Any, **__: Any) -> list[Passage]:
            raise NotFound("no such index")

        here.shelf.search = search  # type: ignore[method-assign]
        with pytest.raises(Conflict, match="rebuild") as caught:
            await here.ask()
        assert caught.value.reason == "index_missing"


class TestACollectionReadBefore:
    """It counts for a question as long as nothing has changed since."""

    async def test_it_is_not_read_again_while_nothing_changed(self) -> None:
        here = Deployment(shelf(SEOUL, BUSAN))
        here.shelf.read_before = here.shelf.record
        assert [one.text for one in (await here.ask(generate=None)).citations] == [SEOUL.text, BUSAN.text]
        assert (here.shelf.reads, len(here.shelf.searches)) == (0, 1)

    @pytest.mark.parametrize(
        "before",
        [
            {"settings": CollectionSettings(fusion=FusionSettings(per_document=1))},
            {"generation": 0},
            {"documents": False},
            {"doubt": "changes"},
            {"encoder": "another"},
            {"embedder": "another"},
            {"fields": frozenset()},
        ],
        ids=lambda before: next(iter(before)),
    )
    async def test_a_change_counts_for_the_next_question(self, before: dict[str, Any]) -> None:
        here = Deployment(shelf(SEOUL, replace(SEOUL, chunk_id="another", score=0.7), BUSAN))
        here.shelf.read_before = replace(here.shelf.record, **before, state="before")
        found = await here.ask(generate=None, filter={"year": {"gte": 2000}})
        assert len(found.citations) == 3
        assert here.shelf.reads == 1

    async def test_a_collection_that_is_gone_is_not_found(self) -> None:
        here = Deployment(shelf(SEOUL))
        here.shelf.read_before = replace(here.shelf.record, name="gone", state="before")
        with pytest.raises(NotFound):
            await here.ask(collection="gone", generate=None)

    async def test_a_question_without_terms_is_no_proof_that_it_is_still_there(self) -> None:
        here = Deployment(shelf(SEOUL))
        here.shelf.read_before = replace(here.shelf.record, name="gone", state="before")
        with pytest.raises(NotFound):
            await here.ask(collection="gone", question="?!", generate=None)


class Condenses(FirstPassage):
    """Writes the question that the conversation means, and remembers how it was asked to answer."""

    def __init__(self, found: SearchQuestion | JobError | None) -> None:
        self.found = found
        self.asked: list[tuple[str, Wording]] = []

    async def condense(self, question: str, history: Sequence[Message], options: TextOptions) -> SearchQuestion | None:
        if isinstance(self.found, JobError):
            raise self.found
        return self.found

    async def answer(self, question: str, passages: Sequence[Passage], options: TextOptions, **how: Any) -> Any:
        self.asked.append((question, how["wording"]))
        return await super().answer(question, passages, options, by=how["by"])


class TestConversation:
    TURNS: ClassVar = [{"role": "user", "content": "서울은 어떤 곳?"}, {"role": "assistant", "content": "수도입니다"}]
    QUESTION = SearchQuestion("서울 인구는 몇 명", Usage(20, 5))

    async def test_the_condensed_question_is_searched_for_and_the_asked_one_answered(self) -> None:
        answerer = Condenses(self.QUESTION)
        here = Deployment(shelf(SEOUL, BUSAN), reranker=Longest(), answerer=answerer)
        result = await here.ask(question="인구는?", messages=self.TURNS)
        assert here.stages == ["retrieve", "generate", "retrieve", "rerank", "generate"]
        assert here.words.questions == here.reranker.questions == ["서울 인구는 몇 명"]  # type: ignore[union-attr]
        [(question, wording)] = answerer.asked
        assert (question, [turn.content for turn in wording.history]) == ("인구는?", ["서울은 어떤 곳?", "수도입니다"])
        assert (result.search_question, result.usage.prompt_tokens) == ("서울 인구는 몇 명", 20)
        assert set(result.timings_ms) == {"queue", "condense", "retrieve", "rerank", "generate", "total"}

    async def test_the_other_pools_model_embeds_the_condensed_question(self) -> None:
        collection, answerer = shelf(SEOUL, **DENSE), Condenses(self.QUESTION)
        gpu = Deployment(collection, embedder=Angles(), answerer=answerer)
        here = Deployment(collection, embedder_name="angles", gpu=gpu)
        result = await here.ask(question="인구는?", messages=self.TURNS)
        assert here.stages == ["retrieve", "generate", "retrieve", "encode", "retrieve", "generate"]
        query = collection.searches[0][1]
        assert list(query.dense or ()) == pytest.approx((await Angles().embed_query("서울 인구는 몇 명")).dense)
        assert result.search_question == "서울 인구는 몇 명"

    @pytest.mark.parametrize("found", [None, EngineReplyEmpty("nothing"), EngineReplyBroken("no JSON")])
    async def test_the_question_is_searched_for_as_it_is_where_no_model_condenses(self, found: JobError | None) -> None:
        here = Deployment(shelf(SEOUL), answerer=Condenses(found))
        result = await here.ask(messages=self.TURNS)
        assert here.stages == ["retrieve", "generate", "retrieve", "generate"]
        assert (here.words.questions, result.search_question, result.found) == (["서울 인구"], None, True)

    async def test_an_engine_that_is_away_is_waited_for(self) -> None:
        here = Deployment(shelf(SEOUL), answerer=Condenses(DependencyUnavailable("away")))
        with pytest.raises(DependencyUnavailable):
            await here.ask(messages=self.TURNS)

    async def test_who_only_retrieves_condenses_nothing(self) -> None:
        here = Deployment(shelf(SEOUL))
        assert (await here.ask(messages=self.TURNS, generate=None)).found
        assert here.stages == ["retrieve"]


DENSE = {"embedder": "angles", "dimension": 2, "learned": True}


class TestDense:
    async def test_the_question_is_embedded_where_the_model_is_here(self) -> None:
        here = Deployment(shelf(SEOUL, **DENSE), embedder=Angles())
        await here.ask()
        query = here.shelf.searches[0][1]
        assert query.dense == (await Angles().embed_query("서울 인구")).dense
        assert query.learned == LEARNED
        assert here.stages == ["retrieve", "generate"]

    async def test_the_question_goes_to_the_pool_that_has_the_model_and_comes_back(self) -> None:
        collection = shelf(SEOUL, **DENSE)
        here = Deployment(collection, embedder_name="angles", gpu=Deployment(collection, embedder=Angles()))
        result = await here.ask()
        assert here.stages == ["retrieve", "encode", "retrieve", "generate"]
        assert set(result.timings_ms) == {"queue", "encode", "retrieve", "generate", "total"}
        query = collection.searches[0][1]
        assert list(query.dense or ()) == pytest.approx((await Angles().embed_query("서울 인구")).dense)
        assert query.learned is not None
        assert list(query.learned.indices) == list(LEARNED.indices)

    async def test_a_collection_without_vectors_needs_no_model(self) -> None:
        here = Deployment(shelf(SEOUL), embedder=Angles())
        assert (await here.ask()).found
        assert here.shelf.searches[0][1].dense is None

    async def test_an_arm_without_weight_needs_no_model(self) -> None:
        settings = CollectionSettings(fusion=FusionSettings(weights=FusionWeights(sparse=1, dense=0)))
        here = Deployment(shelf(SEOUL, **DENSE, settings=settings))
        assert (await here.ask()).found

    async def test_a_deployment_without_the_model_is_told_what_to_configure(self) -> None:
        with pytest.raises(DependencyMissing, match=r"embedded with angles.*WELIP_EMBEDDER_MODEL") as missing:
            await Deployment(shelf(SEOUL, **DENSE)).ask()
        assert (missing.value.reason, missing.value.field) == ("embedder_missing", "input.collection")

    @pytest.mark.parametrize(
        "record",
        [{**DENSE, "embedder": "other"}, {**DENSE, "dimension": 3}, {"encoder": "an older one"}],
        ids=["model", "dimension", "sparse"],
    )
    async def test_other_encoders_than_the_collections_are_refused(self, record: dict[str, Any]) -> None:
        with pytest.raises(Conflict, match="rebuild the collection") as caught:
            await Deployment(shelf(SEOUL, **record), embedder=Angles()).ask()
        assert caught.value.reason == "encoder_mismatch"

    async def test_pools_that_are_configured_differently_are_told_so(self) -> None:
        collection = shelf(SEOUL, **DENSE)
        for gpu, reason in ((None, "embedder_missing"), (Angles(), "encoder_mismatch")):
            if gpu is not None:
                gpu.name = "sines"
            here = Deployment(collection, embedder_name="angles", gpu=Deployment(collection, embedder=gpu))
            with pytest.raises(JobError, match="for all workers") as caught:
                await here.ask()
            assert caught.value.reason == reason

    async def test_a_collection_that_moved_to_another_model_meanwhile_is_encoded_for_again(self) -> None:
        collection = shelf(SEOUL, **DENSE)
        here = Deployment(collection, embedder_name="angles")
        old = {"embedder": "before", "embedding": {"dense": [1.0], "learned": None}, "timings_ms": {"queue": 1.0}}
        job = World().job("inference", "retrieve", {"collection": "c", "question": "서울"}, old)
        outcome = await retrieve.run(job, here.ports)
        assert isinstance(outcome, Next)
        assert (outcome.stage, outcome.carry.embedder) == ("encode", "angles")
        job = World().job("inference", "encode", {"collection": "c", "question": "서울"}, outcome.carry)
        back = await encode.run(job, Deployment(collection, embedder=Angles()).ports)
        assert isinstance(back, Next)
        assert len(back.carry.embedding.dense) == 2


class TestReranking:
    def here(self, **more: Any) -> Deployment:
        return Deployment(shelf(SEOUL, BUSAN, chunk("d3", "대구", 0.4)), reranker=Longest(), **more)

    async def test_it_is_the_default_where_there_is_a_reranker(self) -> None:
        here = self.here()
        result = await here.ask(generate=None, top_k=2)
        assert here.stages == ["retrieve", "rerank"]
        assert [citation.document_id for citation in result.citations] == ["d1", "d2"]
        assert here.reranker is not None
        assert here.reranker.read == ["제1장 > 인구\n서울 인구 천만", BUSAN.text, "대구"], (
            "more are read than are wanted"
        )
        (first, _) = result.citations
        assert first.score == first.scores["rerank"] == len("제1장 > 인구\n서울 인구 천만") / 1000
        assert first.scores["sparse"] == 7.0
        assert set(result.timings_ms) == {"queue", "retrieve", "rerank", "total"}

    async def test_it_raises_what_retrieval_ranked_lower(self) -> None:
        here = Deployment(shelf(chunk("d1", "짧다", 0.9), chunk("d2", "이것은 더 긴 글이다", 0.1)), reranker=Longest())
        result = await here.ask(top_k=1)
        assert (result.answer, here.stages) == ("이것은 더 긴 글이다 [1]", ["retrieve", "rerank", "generate"])

    async def test_a_passage_that_it_cannot_read_comes_last(self) -> None:
        here = self.here()
        assert here.reranker is not None
        here.reranker.refuses = BUSAN.text
        result = await here.ask(generate=None, top_k=3)
        assert [citation.document_id for citation in result.citations] == ["d1", "d3", "d2"]
        assert (result.citations[2].score, "rerank" in result.citations[2].scores) == (0.0, False)

    async def test_a_request_may_switch_it_off(self) -> None:
        here = self.here()
        assert "rerank" not in (await here.ask(rerank=False)).timings_ms
        assert here.stages == ["retrieve", "generate"]

    async def test_as_many_candidates_as_are_configured_or_asked_for(self) -> None:
        hits = [chunk(f"d{n}", "글" * n, 1 / (n + 1)) for n in range(50)]
        for candidates, top_k, read in ((20, 5, 20), (20, 40, 40)):
            here = Deployment(shelf(*hits), reranker=Longest(), candidates=candidates)
            assert len((await here.ask(generate=None, top_k=top_k)).citations) == top_k
            assert here.reranker is not None
            assert len(here.reranker.read) == read

    async def test_it_is_refused_where_there_is_none(self) -> None:
        with pytest.raises(InvalidInput, match="WELIP_RERANKER") as caught:
            await Deployment(shelf(SEOUL)).ask(rerank=True)
        assert (caught.value.reason, caught.value.field) == ("reranker_missing", "input.rerank")
        here = Deployment(shelf(SEOUL), reranker_name="longest", gpu=Deployment(shelf(SEOUL)))
        with pytest.raises(DependencyMissing, match="give all workers") as other_pool:
            await here.ask()
        assert other_pool.value.reason == "reranker_missing"

    async def test_nothing_found_is_nothing_reranked(self) -> None:
        here = self.here()
        assert not (await here.ask(question="?!")).found
        assert here.stages == ["retrieve", "generate"]


class TestFilters:
    async def test_the_index_gets_the_condition(self) -> None:
        here = Deployment(shelf(SEOUL))
        await here.ask(filter={"year": {"gte": 2020}})
        assert here.shelf.searches[0][4] is not None
        await here.ask()
        assert here.shelf.searches[1][4] is None

    async def test_a_field_that_no_document_has_is_refused_and_the_others_listed(self) -> None:
        with pytest.raises(InvalidInput, match=r"'jahr'; there are: lang, year") as caught:
            await Deployment(shelf(SEOUL)).ask(filter={"or": [{"year": 2024}, {"jahr": 2024}]})
        assert (caught.value.reason, caught.value.field) == ("filter_field_unknown", "input.filter.jahr")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"top_k": 0}, "top_k"),
        ({"top_k": 10_000}, "top_k"),
        ({"rerank": "perhaps"}, "rerank"),
        ({"filter": []}, "filter"),
        ({"filter": {"year": {"above": 3}}}, "filter"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        InferenceInput.model_validate({"collection": "c", "question": "서울", **change})
    assert [error["loc"][0] for error in caught.value.errors()] == [field]


async def test_unknown_and_empty_collections_have_codes_of_their_own() -> None:
    with pytest.raises(NotFound, match="kind `indexing`") as unknown:
        await Deployment(shelf(SEOUL)).ask(collection="d")
    assert unknown.value.reason == "collection_not_found"
    with pytest.raises(Conflict, match="holds no document") as empty:
        await Deployment(shelf()).ask()
    assert empty.value.reason == "collection_empty"


async def test_a_model_that_is_not_here_is_refused() -> None:
    here = Deployment(shelf(SEOUL))
    with pytest.raises(InvalidInput, match="'default' or 'first'") as caught:
        await here.ask(generate={"model": "gpt"})
    assert caught.value.reason == "model_unknown"
    assert (await here.ask(generate={"model": "first"})).found


def test_every_stage_of_the_kind_has_its_code() -> None:
    assert [stage("inference", name).run for name in ("retrieve", "encode", "rerank", "generate")] == [
        retrieve.run,
        encode.run,
        rerank.run,
        generate.run,
    ]
