"""The adapter of transformers: what every engine keeps, with a tiny Llama; and the real small model's answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="runs in the environment of model engines")
pytest.importorskip("transformers", reason="runs in the environment of model engines")

from infra.engines.open import open_text_model
from infra.engines.transformers_chat import ADAPTERS, TransformersTextModel
from schemas.errors import DependencyUnavailable, EngineTrouble
from schemas.models import TransformersModel
from schemas.text import Message, TextOptions
from schemas.topics import Lane
from tests.contract import tiny_models
from tests.contract.text_model_contract import OPTIONS, TALK
from tests.engines.engine_contract import (
    ENDLESS,
    EngineContract,
    LikelihoodContract,
    lacks_memory,
    until_free,
    until_running,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def reference(weights: Path) -> Path:
    return weights


@pytest.fixture(scope="module")
def adapters(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [tiny_models.adapter(weights, folder / str(seed), seed=seed) for seed in range(ADAPTERS + 1)]


@pytest.fixture(scope="module")
def unserved(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.adapter(weights, tmp_path_factory.mktemp("unserved"), use_dora=True)


@pytest.fixture(scope="module")
async def model(weights: Path) -> AsyncIterator[TransformersTextModel]:
    made = open_text_model(TransformersModel(name="tiny", engine="transformers", weights=str(weights)))
    assert isinstance(made, TransformersTextModel)
    await made.warm()
    yield made
    await made.close()


class TestTransformers(EngineContract, LikelihoodContract):
    async def test_interactive_requests_go_before_bulk_that_waits(self, model: TransformersTextModel) -> None:
        ended: list[Lane] = []

        async def ask(lane: Lane, tokens: int) -> None:
            await model.complete(TALK, TextOptions(max_tokens=tokens, temperature=0.0, lane=lane))
            ended.append(lane)

        await until_free(model)  # a request that its caller left ends at its next token
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(Lane.BULK, ENDLESS.max_tokens))
            await until_running(model)
            for lane in (Lane.BULK, Lane.BULK, Lane.INTERACTIVE):
                group.create_task(ask(lane, 2))
        assert ended == [Lane.BULK, Lane.INTERACTIVE, Lane.BULK, Lane.BULK]

    async def test_a_request_that_lacks_memory_is_told_so_and_the_engine_goes_on(
        self, model: TransformersTextModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert model._writer is not None
        with monkeypatch.context() as patched:
            patched.setattr(model._writer._model, "generate", lambda **_: lacks_memory())
            with pytest.raises(EngineTrouble) as refused:
                await model.complete(TALK, OPTIONS)
        assert (refused.value.reason, refused.value.retryable) == ("engine_out_of_memory", True)
        assert (await model.complete(TALK, OPTIONS)).text


async def test_weights_that_cannot_be_loaded_are_told(tmp_path: Path) -> None:
    model = TransformersTextModel("none", str(tmp_path))
    with pytest.raises(DependencyUnavailable, match="could not be loaded"):
        await model.warm()
    await model.close()


async def test_the_small_model_knows_the_capital_of_france(small: Path) -> None:
    model = TransformersTextModel("small", str(small))
    try:
        await model.warm()
        found = await model.complete([Message("user", "What is the capital of France?")], OPTIONS)
    finally:
        await model.close()
    assert "Paris" in found.text
    assert found.finish_reason == "stop"
