"""Reads the body of an OpenAI request: what has no effect is dropped, what this deployment cannot do is refused."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.errors import InvalidInput

M = TypeVar("M", bound=BaseModel)
Body = dict[str, Any]

WITHOUT_EFFECT: Final = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""Fields that do not change what the model is asked."""


def relevant(body: Mapping[str, Any], neutral: Mapping[str, Any]) -> Body:
    """The fields that matter, without nulls.

    `neutral`: fields that only their neutral value is supported for. Raises `InvalidInput` for another one.
    """
    given = {name: value for name, value in body.items() if value is not None and name not in WITHOUT_EFFECT}
    for name, value in neutral.items():
        if name in given and given.pop(name) != value:
            raise InvalidInput(f"only {value!r} is supported here; leave the field out", field=f"body.{name}")
    return given


def renamed(given: Body, names: Mapping[str, str]) -> Body:
    """The same with other names; of two that mean the same, the one named last in `names` holds."""
    for old, new in names.items():
        if old in given:
            given[new] = given.pop(old)
    return given


def checked(model: type[M], given: Body, names: Mapping[str, str] | None = None) -> M:
    """The input of a kind. Raises `InvalidInput` with the field as the request names it (`names`: ours to theirs)."""
    try:
        return model.model_validate(given, strict=True)
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False, include_input=False)
        path = [str(part) for part in first["loc"]]
        if path and names:
            path[0] = names.get(path[0], path[0])
        why = "this field is not supported here" if first["type"] == "extra_forbidden" else first["msg"]
        why = why.removeprefix("Value error, ") + (f"; and {len(more)} more" if more else "")
        raise InvalidInput(why, field=".".join(["body", *path])) from error


def usage(told: Mapping[str, Any] | None) -> dict[str, int]:
    """The tokens of a result, as chat completions count them."""
    prompt, completion = (told or {}).get("prompt_tokens") or 0, (told or {}).get("completion_tokens") or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
