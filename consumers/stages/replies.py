"""Reads what a model replied: JSON of a given form, wherever it stands in the text."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

T = TypeVar("T", bound=BaseModel)

_FENCED: Final = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
MOST_STARTS: Final = 50
"""Braces at which JSON is looked for in one reply."""


class UnreadableReply(ValueError):
    """A reply that is not of the form; the message says what is wrong with it."""


def read(form: type[T], text: str) -> T:
    """The reply as the form. Models often wrap the JSON in a code fence or in sentences. Raises `UnreadableReply`."""
    wrong = "it holds no JSON object"
    for found in _objects(text):
        try:
            return form.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            wrong = f"{'.'.join(map(str, first['loc'])) or 'the object'}: {first['msg']}"
    raise UnreadableReply(wrong)


def _objects(text: str) -> list[Any]:
    """JSON objects in the text: the text itself, else those in code fences, else any that begin in it."""
    for candidate in (text, *_FENCED.findall(text)):
        try:
            return [json.loads(candidate)]
        except (ValueError, RecursionError):
            continue
    found: list[Any] = []
    decoder = json.JSONDecoder()
    for begins in list(re.finditer(r"\{", text))[:MOST_STARTS]:
        try:
            value, end = decoder.raw_decode(text, begins.start())
        except (ValueError, RecursionError):
            continue
        found.append(value)
        if not text[end:].strip():
            break
    return found


@lru_cache(maxsize=128)
def strict_schema(form: type[BaseModel]) -> dict[str, Any]:
    """The form's JSON schema as OpenAI's strict mode wants it: every member required, and no others."""
    schema: dict[str, Any] = _strict(form.model_json_schema())
    return schema


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, Mapping):
        return node
    made = {name: _strict(value) for name, value in node.items() if name not in ("default", "title")}
    if isinstance(properties := node.get("properties"), Mapping):
        # Here a member may have the name `title`.
        made["properties"] = {name: _strict(value) for name, value in properties.items()}
        made["required"] = list(properties)
        made["additionalProperties"] = False
    return made
