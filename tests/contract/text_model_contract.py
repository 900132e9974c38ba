"""What every `TextModel` guarantees, whatever is behind it. A module that inherits this has a fixture `model`."""

import asyncio
import contextlib
from dataclasses import replace

from consumers.stages.ports import TextModel
from schemas.text import Completion, Message, TextDelta, TextOptions

OPTIONS = TextOptions(max_tokens=24, temperature=0.0)
TALK = [Message("system", "짧게 답하라."), Message("user", "한라산의 높이는?")]


class TextModelContract:
    async def test_a_completion_has_text_reason_name_and_usage(self, model: TextModel) -> None:
        found = await model.complete(TALK, OPTIONS)
        assert found.text
        assert found.finish_reason in ("stop", "length")
        assert found.model == model.name
        assert found.usage.prompt_tokens > 0
        assert 0 < found.usage.completion_tokens <= OPTIONS.max_tokens

    async def test_a_stream_is_the_same_text_in_pieces_with_the_completion_at_its_end(self, model: TextModel) -> None:
        *deltas, end = [item async for item in model.stream(TALK, OPTIONS)]
        assert len(deltas) > 1
        assert all(isinstance(delta, TextDelta) and delta.text for delta in deltas)
        assert isinstance(end, Completion)
        assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == end.text
        assert end == await model.complete(TALK, OPTIONS)

    async def test_many_at_once_do_not_mix(self, model: TextModel) -> None:
        alone = await model.complete(TALK, OPTIONS)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(model.complete(TALK, OPTIONS)) for _ in range(8)]
        assert {task.result().text for task in tasks} == {alone.text}

    async def test_a_stream_that_is_left_can_be_begun_again(self, model: TextModel) -> None:
        async with contextlib.aclosing(model.stream(TALK, OPTIONS)) as left:
            await anext(left)
        *_, end = [item async for item in model.stream(TALK, replace(OPTIONS, max_tokens=64))]
        assert isinstance(end, Completion)
