"""`/v1/responses` is kind `generation`: https://platform.openai.com/docs/api-reference/responses."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.errors import InvalidInput
from schemas.kinds.generation import GenerationInput
from schemas.openai.bodies import Body, checked, relevant, renamed, usage

NEUTRAL: Final[Mapping[str, Any]] = {
    "background": False,
    "include": [],
    "stream": False,
    "top_logprobs": 0,
    "truncation": "disabled",
}
TEXTS: Final = ("input_text", "output_text", "text")


def request(body: Mapping[str, Any]) -> GenerationInput:
    """The conversation of a request. Raises `InvalidInput` with the field."""
    given = renamed(relevant(body, NEUTRAL), {"max_output_tokens": "max_tokens"})
    messages: list[Any] = []
    if "instructions" in given:
        messages.append({"role": "system", "content": given.pop("instructions")})
    messages += _messages(given.pop("input", None))
    if "text" in given:
        given |= _format(given.pop("text"))
    if "tools" in given:
        given["tools"] = [_tool(tool, at) for at, tool in enumerate(_listed(given["tools"], "body.tools"))]
    choice = given.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        given["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    return checked(
        GenerationInput, {**given, "messages": messages}, {"messages": "input", "max_tokens": "max_output_tokens"}
    )


def _listed(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInput("give a list", field=field)
    return value


def _messages(given: Any) -> list[Body]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [_turn(item, f"body.input.{at}") for at, item in enumerate(_listed(given, "body.input"))]


def _turn(item: Any, field: str) -> Body:
    """One item of the input, as a message."""
    match item:
        case {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}:
            call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            return {"role": "assistant", "tool_calls": [call]}
        case {"type": "function_call_output", "call_id": id, "output": str(output)}:
            return {"role": "tool", "tool_call_id": id, "content": output}
        case {"role": role, "content": str(content)} if item.get("type", "message") == "message":
            return {"role": role, "content": content}
        case {"role": role, "content": list(parts)} if item.get("type", "message") == "message":
            return {"role": role, "content": [_part(part, f"{field}.content.{at}") for at, part in enumerate(parts)]}
    raise InvalidInput("only messages of text, function calls and their outputs are supported here", field=field)


def _part(part: Any, field: str) -> Body:
    if isinstance(part, dict) and part.get("type") in TEXTS and "text" in part:
        return {"type": "text", "text": part["text"]}
    raise InvalidInput("only text is supported here", field=field)


def _format(text: Any) -> Body:
    asked = text.get("format") if isinstance(text, dict) else None
    if asked is None:
        return {}
    if isinstance(asked, dict) and asked.get("type") == "json_schema":
        return {
            "response_format": {
                "type": "json_schema",
                "json_schema": {name: value for name, value in asked.items() if name != "type"},
            }
        }
    return {"response_format": asked}


def _tool(tool: Any, at: int) -> Body:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise InvalidInput("only functions are supported here", field=f"body.tools.{at}")
    return {
        "type": "function",
        "function": {name: value for name, value in tool.items() if name != "type" and value is not None},
    }


def answer(result: Mapping[str, Any], id: str, created: int) -> dict[str, Any]:
    """The response of a `GenerationResult`. `created`: Unix seconds."""
    message, cut = result["message"], result.get("finish_reason")
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(cut or "")
    output: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    if message.get("content") is not None:
        content.append({"type": "output_text", "text": message["content"], "annotations": []})
    if message.get("refusal"):
        content.append({"type": "refusal", "refusal": message["refusal"]})
    status = "incomplete" if reason else "completed"
    if content:
        output.append({"id": f"msg_{id}", "type": "message", "role": "assistant", "status": status, "content": content})
    for call in message.get("tool_calls") or ():
        output.append(
            {
                "id": f"fc_{call['id']}",
                "type": "function_call",
                "call_id": call["id"],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
                "status": "completed",
            }
        )
    counted = usage(result.get("usage"))
    return {
        "id": f"resp_{id}",
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": result["model"],
        "output": output,
        "usage": {
            "input_tokens": counted["prompt_tokens"],
            "output_tokens": counted["completion_tokens"],
            "total_tokens": counted["total_tokens"],
        },
    }
