"""The adapter of vLLM: real vLLM on a CPU with the real small model. What kills the engine comes last."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("vllm", reason="runs in the environment of model engines")

from infra.engines.load import EngineLoad
from infra.engines.open import open_text_model
from infra.engines.vllm import VllmTextModel
from infra.engines.vllm_groups import GROUP
from schemas.errors import DependencyUnavailable, EngineDied, EngineRefused, EngineTrouble
from schemas.models import VllmModel
from schemas.text import Message
from schemas.topics import Lane
from tests.contract import tiny_models
from tests.contract.text_model_contract import OPTIONS, TALK
from tests.engines.engine_contract import ENDLESS, STORY, EngineContract, lacks_memory, until_free, until_running

AT_ONCE = 8
RESERVED = 1
LOADED = 2
CONTEXT = 1024


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
        "max_num_batched_tokens": CONTEXT,
        "enable_lora": True,
        "max_loras": 1,
        "max_cpu_loras": LOADED,
    }
    made = open_text_model(
        VllmModel(name="small", engine="vllm", weights=str(small), context_length=CONTEXT, options=options)
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

    async def test_likelihoods_are_refused_where_adapters_are_served_and_the_engine_lives(
        self, model: VllmTextModel
    ) -> None:
        with pytest.raises(EngineRefused, match="enable_lora") as refused:
            await model.likelihoods("The capital of France is", [" Paris", " Rome"], OPTIONS)
        assert refused.value.reason == "likelihoods_unsupported"

    async def test_bulk_fills_the_engine_and_an_interactive_request_begins_at_once(self, model: VllmTextModel) -> None:
        bulk = replace(ENDLESS, lane=Lane.BULK)
        long = [asyncio.create_task(model.complete(STORY, bulk)) for _ in range(2 * AT_ONCE)]
        await until_running(model, AT_ONCE)
        async with asyncio.timeout(120):
            while not model.load.waiting:  # those that begin in the very step after one has ended
                await asyncio.sleep(0.005)
        assert model.load.running == AT_ONCE
        await model.complete(TALK, replace(OPTIONS, max_tokens=8, lane=Lane.INTERACTIVE))
        assert not any(task.done() for task in long)
        assert model.load.running <= AT_ONCE + RESERVED
        for task in long:
            task.cancel()
        await asyncio.gather(*long, return_exceptions=True)
        await until_free(model)

    async def test_a_text_that_nobody_reads_along_comes_in_groups_of_tokens_and_is_the_same(
        self, model: VllmTextModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        came: dict[str, list[int]] = defaultdict(list)
        process = model._engine.output_processor.process_outputs

        def noted(outputs: Any, *given: Any, **options: Any) -> Any:
            for output in outputs:
                came[output.request_id].append(len(output.new_token_ids))
            return process(outputs, *given, **options)

        async def read_along() -> Any:
            return [item async for item in model.stream(STORY, long)][-1]

        monkeypatch.setattr(model._engine.output_processor, "process_outputs", noted)
        long = replace(OPTIONS, max_tokens=1 + GROUP + 4)
        whole, stoppable, read = await asyncio.gather(
            model.complete(STORY, long), model.complete(STORY, replace(long, stop=["\0"])), read_along()
        )
        assert whole == stoppable == read
        one_by_one = [1] * long.max_tokens
        assert sorted(came.values()) == [one_by_one, one_by_one, [1, GROUP, 4]]

    async def test_a_request_that_lacks_memory_is_told_so_and_the_engine_goes_on(
        self, model: VllmTextModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def add_request(*_: object, **__: object) -> None:
            lacks_memory()

        with monkeypatch.context() as patched:
            patched.setattr(model._engine, "add_request", add_request)
            with pytest.raises(EngineTrouble) as refused:
                await model.complete(TALK, OPTIONS)
        assert (refused.value.reason, refused.value.retryable) == ("engine_out_of_memory", True)
        assert (await model.complete(TALK, OPTIONS)).text

    async def test_seeded_prompts_that_do_not_fit_into_one_step_leave_the_engine_alive(
        self, model: VllmTextModel
    ) -> None:
        [length] = await model.lengths(["mountain " * 100])
        prompt = [Message("user", "mountain " * (100 * CONTEXT * 2 // 3 // length))]
        asked = [model.complete(prompt, replace(OPTIONS, max_tokens=2, temperature=1.0, seed=n)) for n in range(2)]
        read = [found.usage.prompt_tokens for found in await asyncio.gather(*asked)]
        assert sum(read) > CONTEXT, "the second prompt would have been begun in the same step"
        assert (await model.complete(TALK, OPTIONS)).text

    async def test_many_cancelled_at_once_leave_nothing_in_the_engine(self, model: VllmTextModel) -> None:
        tasks = [asyncio.create_task(model.complete(STORY, ENDLESS)) for _ in range(4 * AT_ONCE)]
        await until_running(model, AT_ONCE + RESERVED)
        assert model.load.cache_used > 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until_free(model)

    async def test_what_vllm_refuses_is_refused_in_its_words(self, model: VllmTextModel) -> None:
        for options in (replace(OPTIONS, temperature=float("nan")), replace(OPTIONS, max_tokens=0)):
            with pytest.raises(EngineRefused, match="vLLM refuses"):
                await model.complete(TALK, options)


@pytest.mark.parametrize(
    ("weights", "context_length", "said"),
    [
        ("empty", None, "config"),
        ("small", 1_000_000, "max_model_len"),
    ],
)
async def test_what_vllm_cannot_start_is_told_in_its_words(
    small: Path, tmp_path: Path, weights: str, context_length: int | None, said: str
) -> None:
    made = VllmTextModel("m", str(tmp_path if weights == "empty" else small), context_length=context_length)
    with pytest.raises(DependencyUnavailable, match=f"(?s)vLLM could not start.*{said}"):
        await made.warm()


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
