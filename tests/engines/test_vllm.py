"""The adapter of vLLM: real vLLM on a CPU with the real small model. What kills the engine comes last."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

pytest.importorskip("vllm", reason="runs in the environment of model engines")

from infra.engines.load import EngineLoad
from infra.engines.open import open_text_model
from infra.engines.vllm import VllmTextModel
from schemas.errors import EngineDied, EngineRefused
from schemas.models import VllmModel
from schemas.text import Message
from schemas.topics import Lane
from tests.contract import tiny_models
from tests.contract.text_model_contract import OPTIONS, TALK
from tests.engines.engine_contract import ENDLESS, STORY, EngineContract, until_free, until_running

AT_ONCE = 8
LOADED = 2


@pytest.fixture(scope="module")
def adapters(small: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [tiny_models.adapter(small, folder / str(seed), seed=seed) for seed in range(LOADED + 1)]


@pytest.fixture(scope="module")
def unserved(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.adapter(small, tmp_path_factory.mktemp("unserved"), use_dora=True)


@pytest.fixture(scope="module")
async def model(small: Path) -> AsyncIterator[VllmTextModel]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    options = {
        "enforce_eager": True,
        "dtype": "float32",  # in fewer bits a text depends on how many are written with it
        "max_num_seqs": AT_ONCE,
        "enable_lora": True,
        "max_loras": 1,
        "max_cpu_loras": LOADED,
    }
    made = open_text_model(
        VllmModel(name="small", engine="vllm", weights=str(small), context_length=1024, options=options)
    )
    assert isinstance(made, VllmTextModel)
    await made.warm()
    yield made
    await made.close()


class TestVllm(EngineContract):
    async def test_it_knows_the_capital_of_france(self, model: VllmTextModel) -> None:
        found = await model.complete([Message("user", "What is the capital of France?")], OPTIONS)
        assert "Paris" in found.text
        assert found.finish_reason == "stop"

    async def test_interactive_requests_go_before_bulk_that_waits(self, model: VllmTextModel) -> None:
        ended: list[Lane] = []

        async def ask(lane: Lane) -> None:
            await model.complete(TALK, replace(OPTIONS, max_tokens=16, lane=lane))
            ended.append(lane)

        long = [asyncio.create_task(model.complete(STORY, ENDLESS)) for _ in range(AT_ONCE - 1)]
        await until_running(model, AT_ONCE - 1)
        async with asyncio.TaskGroup() as group:
            for lane in (Lane.BULK, Lane.BULK, Lane.BULK, Lane.INTERACTIVE):
                group.create_task(ask(lane))
        for task in long:
            task.cancel()
        await asyncio.gather(*long, return_exceptions=True)
        # One place is left: a bulk request has it when the interactive one comes, which then goes before the rest.
        assert ended.index(Lane.INTERACTIVE) <= 1
        await until_free(model)

    async def test_many_cancelled_at_once_leave_nothing_in_the_engine(self, model: VllmTextModel) -> None:
        tasks = [asyncio.create_task(model.complete(STORY, ENDLESS)) for _ in range(4 * AT_ONCE)]
        await until_running(model, AT_ONCE)
        assert model.load.cache_used > 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until_free(model)

    async def test_what_vllm_refuses_is_refused_in_its_words(self, model: VllmTextModel) -> None:
        for options in (replace(OPTIONS, temperature=float("nan")), replace(OPTIONS, max_tokens=0)):
            with pytest.raises(EngineRefused, match="vLLM refuses"):
                await model.complete(TALK, options)


async def test_a_dead_engine_is_told_to_every_request_and_to_the_process(model: VllmTextModel) -> None:
    writing = [asyncio.create_task(model.complete(STORY, ENDLESS)) for _ in range(4)]
    watching = asyncio.create_task(model.watch())
    await until_running(model)
    for child in psutil.Process().children(recursive=True):
        if "EngineCore" in child.name():
            child.kill()
    async with asyncio.timeout(120):
        ends = await asyncio.gather(watching, *writing, return_exceptions=True)
    assert [type(end) for end in ends] == [EngineDied] * 5
    assert isinstance(model.load, EngineLoad)
