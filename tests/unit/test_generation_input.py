"""What a conversation may ask for; whatever it may not is refused with the field that names it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from consumers.stages.ports import Served
from consumers.stages.registry import stage
from schemas.adapters import ReadyAdapter
from schemas.kinds.embedding import EmbeddingInput
from schemas.kinds.generation import GenerationInput, GenerationResult
from schemas.kinds.kind import Step
from schemas.kinds.registry import KINDS
from schemas.kinds.shapes import read_input
from schemas.outcomes import Done
from schemas.text import Completion, Message, TextOptions
from tests.unit.ports_in_memory import World
from tests.unit.texts_in_memory import EchoModel

TALK = [{"role": "user", "content": "안녕"}]
SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {"a": {}}}


def tool(name: str = "f", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


def by_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content"),
        ({"messages": [{"role": "assistant"}]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": "x", "tool_call_id": "c"}]}, "messages.0"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": float("inf")}, "top_p"),
        ({"stop": ""}, "stop"),
        ({"stop": "x" * 10_000}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"model": ""}, "model"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": by_schema({"type": "objekt"})}, "response_format.json_schema.json_schema.schema"),
        ({"response_format": by_schema([])}, "response_format.json_schema.json_schema.schema"),
        (
            {"response_format": by_schema({"description": "x" * 70_000})},
            "response_format.json_schema.json_schema.schema",
        ),
        ({"tools": [tool("a b")]}, "tools.0.function.name"),
        ({"tools": [tool(parameters={"required": "a"})]}, "tools.0.function.parameters"),
        ({"tools": [tool(), tool()]}, ""),
        ({"tool_choice": "auto"}, ""),
        ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "g"}}}, ""),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_may_not_be_is_refused_by_its_field(fields: dict[str, Any], at: str) -> None:
    with pytest.raises(ValidationError) as refused:
        GenerationInput.model_validate({"messages": TALK, **fields})
    found = [".".join(map(str, error["loc"])) for error in refused.value.errors()]
    assert any(one.startswith(at) for one in found), found


def test_a_schema_is_compared_with_no_other_machine() -> None:
    """The address would answer nothing: a look there would fail, or hang."""
    elsewhere = {"$schema": "http://127.0.0.1:9/metaschema", "type": "object"}
    assert GenerationInput.model_validate({"messages": TALK, "response_format": by_schema(elsewhere)})


def test_an_input_is_the_same_after_a_row_has_kept_it() -> None:
    given = GenerationInput.model_validate(
        {
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "짧게"}, {"type": "text", "text": "!"}]},
                *TALK,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}],
                },
                {"role": "tool", "content": "1", "tool_call_id": "c"},
            ],
            "tools": [tool(parameters=SCHEMA)],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": by_schema(SCHEMA),
            "stop": ["a", "b"],
        }
    )
    assert read_input(Step(KINDS["generation"], "run"), given.model_dump_json()) == given


async def test_a_conversation_goes_through_its_stage() -> None:
    world = World()
    outcome = await stage("generation", "run")(world.job("generation", "run", {"messages": TALK}), world.ports)
    assert isinstance(outcome, Done)
    result = GenerationResult.model_validate(json.loads(json.dumps(outcome.result)))
    assert "안녕" in (result.message.content or "")


@pytest.mark.parametrize("streams", [False, True])
async def test_an_adapter_stays_while_the_engine_writes_with_it_and_the_result_names_it(streams: bool) -> None:
    world = World()
    world.adapters.there["base:mine"] = ReadyAdapter("/adapters/1", "base:mine@1")
    seen: list[tuple[str | None, list[str]]] = []

    class Watched(EchoModel):
        async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
            seen.append((options.adapter, list(world.adapters.using)))
            return await super().complete(messages, options)

    ports = world.ports
    ports.text_models = Served({"default": Watched()}, "default")
    given = {"messages": TALK, "model": "base:mine", "stream": streams}
    outcome = await stage("generation", "run")(world.job("generation", "run", given), ports)
    assert isinstance(outcome, Done)
    assert outcome.result["model"] == "base:mine@1"
    assert (seen, world.adapters.using) == ([("/adapters/1", ["base:mine"])], [])


@pytest.mark.parametrize("fields", [{"texts": []}, {"texts": [""]}, {"texts": ["a"] * 2_049}, {"purpose": "else"}])
def test_texts_to_embed_are_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EmbeddingInput.model_validate({"texts": ["a"], **fields})
