"""How settings are read from texts: durations are seconds (`15`, `0.5`) or ISO 8601 (`PT15S`), objects are JSON."""

import json
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict


def _seconds(value: object) -> object:
    """Let `0.5` and `15` from the environment mean seconds."""
    if isinstance(value, str):
        try:
            return timedelta(seconds=float(value))
        except ValueError:
            return value
    return value


def _json(value: object) -> object:
    """A JSON object as an environment variable holds it."""
    return json.loads(value or "{}") if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_seconds)]
Headers = Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(_json)]
Fields = Annotated[dict[str, Any], NoDecode, BeforeValidator(_json)]


def prefixed(name: str) -> SettingsConfigDict:
    """The settings of one concern, whose variables begin with `WELIP_` and this name."""
    return SettingsConfigDict(env_prefix=f"WELIP_{name}", extra="ignore", frozen=True)
