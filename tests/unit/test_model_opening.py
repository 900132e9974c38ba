"""A row of the models file becomes an adapter: its key, its limits, its weights."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from infra.engines.limited import LimitedTextModel
from infra.engines.open import open_text_model
from infra.engines.rooms import room_of
from infra.engines.weights import INDEXES, located
from schemas.errors import Conflict
from schemas.models import ExtractiveModel, Limits, OpenAIModel, TransformersModel, VllmModel
from schemas.text import Completion, Message, TextDelta, TextOptions
from schemas.topics import Lane

TALK = [Message("user", "안녕")]


class Held:
    """A model whose replies come once `release` is set."""

    name = "held"

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0
        self.release = asyncio.Event()

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.release.wait()
        finally:
            self.under_way -= 1
        return Completion("네", "stop", self.name)

    async def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        yield await self.complete(messages, options)

    async def warm(self) -> None:
        """It is."""

    async def watch(self) -> None:
        await self.release.wait()

    async def close(self) -> None:
        self.release.set()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def test_no_more_than_at_once_are_under_way_streams_too() -> None:
    held = Held()
    model = LimitedTextModel(held, Limits(at_once=2))

    async def streamed() -> None:
        async for _ in model.stream(TALK, TextOptions()):
            pass

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(model.complete(TALK, TextOptions())) for _ in range(4)]
        streams = [group.create_task(streamed()) for _ in range(4)]
        await until(lambda: held.under_way == 2)
        tasks[0].cancel()  # its slot goes to the next
        await until(lambda: tasks[0].done() and held.under_way == 2)
        held.release.set()
    assert held.most == 2
    assert all(task.done() for task in streams)


async def test_requests_above_the_rate_wait() -> None:
    held = Held()
    held.release.set()
    model = LimitedTextModel(held, Limits(requests_per_minute=3))
    async with asyncio.timeout(30):
        for _ in range(3):
            await model.complete(TALK, TextOptions())
    fourth = asyncio.ensure_future(model.complete(TALK, TextOptions()))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not fourth.done()
    fourth.cancel()


def test_a_key_that_its_variable_does_not_hold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = OpenAIModel(name="m", engine="openai", url="http://h/v1", api_key_env="NO_SUCH_KEY")
    with pytest.raises(Conflict, match="NO_SUCH_KEY is not set"):
        open_text_model(spec)
    monkeypatch.setenv("NO_SUCH_KEY", "k")
    assert open_text_model(spec).name == "m"


def test_an_engine_that_cannot_chat_is_told() -> None:
    with pytest.raises(Conflict, match="cannot chat by the engine 'extractive'"):
        open_text_model(ExtractiveModel(name="m", engine="extractive"))


def test_weights_are_compared_with_their_digests(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()

    def at(folder: str, **sha256: str) -> str:
        return located(TransformersModel(name="m", engine="transformers", weights=folder, sha256=sha256))

    assert at(str(tmp_path), w=digest) == str(tmp_path)
    assert at("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    for folder, sha256, code in (
        (str(tmp_path), {"w": "0" * 64}, "weights_differ"),
        (str(tmp_path), {"v": digest}, "weights_missing"),
        (str(tmp_path / "no"), {}, "weights_missing"),
    ):
        with pytest.raises(Conflict, match="model 'm': weights") as refused:
            at(folder, **sha256)
        assert refused.value.reason == code


@pytest.mark.parametrize("index", INDEXES)
def test_a_part_of_the_weights_that_is_not_there_is_named(tmp_path: Path, index: str) -> None:
    spec = TransformersModel(name="m", engine="transformers", weights=str(tmp_path))
    (tmp_path / index).write_text('{"weight_map": {"a": "part-1", "b": "part-2", "c": "part-1"}}')
    (tmp_path / "part-1").touch()
    with pytest.raises(Conflict, match=f"no {tmp_path}/part-2: {index} names it"):
        located(spec)
    (tmp_path / "part-2").touch()
    assert located(spec) == str(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"weight_map": 1}', '{"weight_map": {"a": {}}}'])
def test_an_index_of_weights_that_cannot_be_read_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEXES[0]).write_text(content)
    with pytest.raises(Conflict, match="it is unreadable") as refused:
        located(TransformersModel(name="m", engine="transformers", weights=str(tmp_path)))
    assert refused.value.reason == "weights_missing"


def test_an_engine_in_this_process_says_its_room_and_a_server_does_not(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    weights, slow = str(tmp_path / "weights"), Limits(requests_per_minute=60)
    vllm = open_text_model(VllmModel(name="v", engine="vllm", weights=weights, limits=Limits(at_once=4)))
    paced = open_text_model(VllmModel(name="v", engine="vllm", weights=weights, limits=slow))
    hf = open_text_model(TransformersModel(name="t", engine="transformers", weights=weights))
    server = open_text_model(OpenAIModel(name="o", engine="openai", url="http://localhost:1/v1", limits=slow))
    # Its own seats keep to `at_once`; waiting in line for them would let bulk go first.
    assert not isinstance(vllm, LimitedTextModel)
    assert isinstance(paced, LimitedTextModel)
    for model in (vllm, paced, hf):
        room = room_of(model)
        assert room is not None
        assert room(Lane.BULK) > 0
    assert room_of(server) is None
