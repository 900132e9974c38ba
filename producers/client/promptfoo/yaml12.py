"""YAML as Promptfoo reads it: `yes` and `2026-12-01` are texts, and `$ref` stands for another part of the file."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

_TRUTH: Final = "tag:yaml.org,2002:bool"
_TIME: Final = "tag:yaml.org,2002:timestamp"
MAX_DEPTH: Final = 100


def loaded(text: str) -> Any:
    """The document, or JSON. Raises `ValueError`."""
    import yaml

    try:
        return yaml.load(text, _loader())
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def referred(value: Any, root: Any, depth: int = 0) -> Any:
    """The value with every `{"$ref": "#/a/b"}` replaced by what stands there. Raises `ValueError`."""
    if depth > MAX_DEPTH:
        raise ValueError("its references lead to themselves")
    if isinstance(value, list):
        return [referred(one, root, depth + 1) for one in value]
    if not isinstance(value, Mapping):
        return value
    named = value.get("$ref")
    if isinstance(named, str) and named.startswith("#/"):
        found = root
        for part in named[2:].split("/"):
            if not isinstance(found, Mapping) or part not in found:
                raise ValueError(f"nothing stands at {named!r}")
            found = found[part]
        return referred(found, root, depth + 1)
    return {name: referred(one, root, depth + 1) for name, one in value.items()}


@lru_cache(maxsize=1)
def _loader() -> Any:
    """PyYAML's safe loader with the truth values of YAML 1.2: version 1.1 takes `yes` and `off` for some, too."""
    import yaml

    class Loader(yaml.SafeLoader):
        """With resolvers of its own."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag not in (_TRUTH, _TIME)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(_TRUTH, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
    return Loader
