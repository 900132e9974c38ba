"""Variables in Promptfoo's templates: `{{name}}` and `{{item.name}}`, the part of Nunjucks that prompts mostly use."""

import re
from collections.abc import Mapping
from typing import Final

_VARIABLE: Final = re.compile(r"\{\{-?\s*(\w+(?:\.\w+)*)\s*-?\}\}")


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced; one that a test does not have is empty, as in Promptfoo."""
    return _VARIABLE.sub(lambda found: values.get(found[1], ""), text)


def names_in(text: str) -> list[str]:
    """The names of its variables."""
    return _VARIABLE.findall(text)


def without(text: str) -> str:
    """The text without them: what is left of `{{` and `{%` is more than variables."""
    return _VARIABLE.sub("", text)
