"""LoRA adapters as requests and owners name them: `base:adapter` is the newest version, `base:adapter@2` that one."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.errors import InvalidInput
from schemas.models import MODEL_NAME, ModelName

MOST: Final = 1_000
"""Versions of adapters that one tenant may have."""

_NAMED: Final = re.compile(rf"({MODEL_NAME}):({MODEL_NAME})(?:@([1-9][0-9]{{0,8}}))?")

AdapterName = Annotated[str, StringConstraints(pattern=rf"^{MODEL_NAME}$")]


class AdapterNotFound(InvalidInput):
    """A request names an adapter that is not there; the message lists those that are."""

    code = "adapter_not_found"


@dataclass(frozen=True, slots=True)
class NamedAdapter:
    """An adapter of the model `base`. `version`: None means the newest."""

    base: str
    name: str
    version: int | None = None

    def __str__(self) -> str:
        version = "" if self.version is None else f"@{self.version}"
        return f"{self.base}:{self.name}{version}"


@dataclass(frozen=True, slots=True)
class ReadyAdapter:
    """What an engine is given. `where`: a folder on this machine, or the adapter's name on the model's server.

    `name`: what results call it.
    """

    where: str
    name: str


class NewAdapter(BaseModel):
    """An adapter to register: `file` is a zip archive with `adapter_config.json` and `adapter_model.safetensors`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    base: ModelName = Field(description="The model that it was trained on, by its name here.")
    name: AdapterName
    file: str = Field(pattern=r"^file_[0-9a-f]{32}$", description="An uploaded file; it is copied.")


def named_adapter(name: str) -> NamedAdapter | None:
    """What a model's name says about an adapter; None if it has not the form of one."""
    found = _NAMED.fullmatch(name)
    return None if found is None else NamedAdapter(found[1], found[2], None if found[3] is None else int(found[3]))
