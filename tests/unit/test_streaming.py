"""A model writes where the job's owner can read along."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from consumers.stages.streaming import streamed
from schemas.errors import EngineReplyBroken
from schemas.text import Completion, Message, TextDelta, TextOptions
from tests.unit.texts_in_memory import Kept


class Writes:
    """A model that writes these pieces and reports `text` as its text; without `text` it ends silently."""

    name = "m"

    def __init__(self, *pieces: str, text: str | None) -> None:
        self.pieces = pieces
        self.text = text
        self.closed = False

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        raise AssertionError("it was to stream")

    async def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        try:
            for piece in self.pieces:
                yield TextDelta(piece)
                await asyncio.sleep(0)
            if self.text is not None:
                yield Completion(self.text, "stop", self.name)
        finally:
            self.closed = True

    async def close(self) -> None:
        return None


async def test_the_transcript_begins_before_the_model_and_gets_every_piece() -> None:
    kept = Kept()
    completion = await streamed(Writes("한라", "산", text="한라산"), [], TextOptions(), kept)
    assert kept.said == ["<begin>", "한라", "산", "<settled 한라산>"]
    assert completion.text == "한라산"


async def test_a_cancelled_stage_closes_the_stream() -> None:
    model = Writes(*"가" * 1000, text="")
    task = asyncio.create_task(streamed(model, [], TextOptions(), Kept()))
    await asyncio.sleep(0)  # it has begun and waits between two pieces
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.closed


async def test_a_stream_without_its_completion_is_broken() -> None:
    with pytest.raises(EngineReplyBroken):
        await streamed(Writes("한라", text=None), [], TextOptions(), Kept())
