"""Models live in the gpu pool; the cpu pool knows of them, and reaches those behind an address itself."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from consumers.bootstrap import AdapterSettings, build_ports
from consumers.stages.ports import Ports
from infra.postgres.database import Database
from infra.settings import (
    BlobsSettings,
    EmbedderSettings,
    GeneratorSettings,
    IndexSettings,
    ParserSettings,
    PostgresSettings,
    RerankerSettings,
)
from schemas.errors import DependencyMissing
from schemas.topics import Pool

HAS_TORCH = importlib.util.find_spec("sentence_transformers") is not None


async def ports_of(folder: Path, pools: list[Pool], embedder: dict[str, Any], reranker: dict[str, Any]) -> Ports:
    settings = AdapterSettings(
        blobs=BlobsSettings(url=f"file://{folder}/blobs"),
        index=IndexSettings(url=f"edge://{folder}/index"),
        generator=GeneratorSettings(),
        embedder=EmbedderSettings.model_validate(embedder),
        reranker=RerankerSettings.model_validate(reranker),
        parser=ParserSettings(),
    )
    ports = build_ports(Database(PostgresSettings(), application="test"), settings, pools)
    await ports.index.close()
    await ports.parser.close()
    return ports


async def test_the_cpu_pool_loads_no_model_and_knows_what_there_is(tmp_path: Path) -> None:
    there = {"WELIP_EMBEDDER": "bge-m3"}, {"WELIP_RERANKER": "cross-encoder", "candidates": 50}
    ports = await ports_of(tmp_path, [Pool.CPU], *there)
    assert (ports.embedder, ports.reranker) == (None, None)
    assert (ports.embedder_name, ports.reranker_name) == ("BAAI/bge-m3+learned", "Dongjin-kr/ko-reranker")
    assert ports.candidates == 50


async def test_a_model_behind_an_address_is_reached_from_both_pools(tmp_path: Path) -> None:
    there = {"WELIP_EMBEDDER": "openai", "model": "m"}, {"WELIP_RERANKER": "endpoint", "model": "r"}
    for pools, reranks in (([Pool.CPU], False), ([Pool.CPU, Pool.GPU], True)):
        ports = await ports_of(tmp_path, pools, *there)
        assert ports.embedder is not None
        assert ports.embedder.name == ports.embedder_name == "m"
        assert (ports.reranker is not None) is reranks
        assert ports.reranker_name == "r"


async def test_without_models_there_are_none(tmp_path: Path) -> None:
    ports = await ports_of(tmp_path, [Pool.CPU, Pool.GPU], {}, {})
    assert (ports.embedder, ports.embedder_name, ports.reranker, ports.reranker_name) == (None, None, None, None)


@pytest.mark.skipif(HAS_TORCH, reason="the gpu group is installed here")
async def test_a_worker_of_the_gpu_pool_that_cannot_load_its_model_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(DependencyMissing, match=r"welip\[gpu\]"):
        await ports_of(tmp_path, [Pool.GPU], {"WELIP_EMBEDDER": "bge-m3"}, {})
    with pytest.raises(DependencyMissing, match=r"welip\[gpu\]"):
        await ports_of(tmp_path, [Pool.GPU], {}, {"WELIP_RERANKER": "cross-encoder"})
