"""The only stage of `generation`: the job's model continues the conversation."""

from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from consumers.stages.streaming import streamed
from schemas.adapters import ReadyAdapter
from schemas.kinds.formats import BySchema, JsonObject
from schemas.kinds.generation import (
    CalledFunction,
    CalledTool,
    ChatMessage,
    GenerationInput,
    GenerationResult,
    NamedTool,
    Reply,
)
from schemas.kinds.inference import TokenUsage
from schemas.outcomes import Done, Outcome
from schemas.text import Message, TextOptions, ToolCall
from schemas.topics import Lane

NEEDS: Final = needs(Ports.adapters, Ports.text_model)


async def run(job: StageJob[GenerationInput, None], ports: Ports) -> Outcome:
    """Generate. A reply that was cut, or refuses, is a result all the same: `finish_reason` and `refusal` say so."""
    asked, model = job.input, ports.text_model
    turns = [_turn(one) for one in asked.messages]
    async with ports.adapters.ready(job.tenant, job.model, asked.model) as adapter:
        options = _options(asked, job.lane, adapter)
        if asked.stream:
            completion = await streamed(model, turns, options, job.transcript)
        else:
            completion = await model.complete(turns, options)
    calls = [
        CalledTool(id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments))
        for call in completion.tool_calls
    ]
    result = GenerationResult(
        message=Reply(
            content=completion.text or (None if calls or completion.refusal else ""),
            refusal=completion.refusal,
            tool_calls=calls or None,
        ),
        finish_reason=completion.finish_reason,
        model=completion.model if adapter is None else adapter.name,
        usage=TokenUsage(
            prompt_tokens=completion.usage.prompt_tokens, completion_tokens=completion.usage.completion_tokens
        ),
    )
    return Done(result.model_dump())


def _turn(message: ChatMessage) -> Message:
    role = "system" if message.role == "developer" else message.role
    calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []]
    return Message(role, message.text, calls, message.tool_call_id)


def _options(asked: GenerationInput, lane: Lane, adapter: ReadyAdapter | None) -> TextOptions:
    form, stop, choice = asked.response_format, asked.stop, asked.tool_choice
    return TextOptions(
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop=[stop] if isinstance(stop, str) else stop or [],
        seed=asked.seed,
        schema=form.json_schema.schema_ if isinstance(form, BySchema) else None,
        json_object=isinstance(form, JsonObject),
        tools=[tool.model_dump(exclude_none=True) for tool in asked.tools or []],
        tool_choice=choice.model_dump() if isinstance(choice, NamedTool) else choice,
        lane=lane,
        adapter=None if adapter is None else adapter.where,
    )
