"""Lets a model write where the job's owner reads along."""

import contextlib
from collections.abc import Sequence

from consumers.stages.ports import TextModel, Transcript
from schemas.errors import EngineReplyBroken
from schemas.text import Completion, Message, TextDelta, TextOptions


async def streamed(
    model: TextModel, messages: Sequence[Message], options: TextOptions, transcript: Transcript
) -> Completion:
    """What `model.complete` returns, with the text in `transcript` while it is written. Raises what `TextModel` raises.

    A stage that is cancelled closes the model's stream, so the engine stops.
    """
    transcript.begin()
    completion: Completion | None = None
    async with contextlib.aclosing(model.stream(messages, options)) as pieces:
        async for piece in pieces:
            if isinstance(piece, TextDelta):
                transcript.write(piece.text)
            else:
                completion = piece
    if completion is None:
        raise EngineReplyBroken(f"the stream of {model.name} ended without a completion")
    await transcript.settle(completion.text)
    return completion
