"""`probe`: a kind of work with effects that can be counted, known only to processes that `process.py` starts."""

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

import consumers.stages
from schemas.kinds.kind import Kind, Stage
from schemas.kinds.registry import KINDS
from schemas.topics import Pool

KIND: Final = "probe"
POOL: Final = Pool.GPU
"""The pool that needs neither an index nor Kiwi."""


class ProbeInput(BaseModel):
    """What a probe does: sleep `seconds`, keep the event loop busy for `block_s`, hand on to its second stage, die.

    `dies`: `killed` ends its worker as the system's memory guard does (SIGKILL); `memory` takes all the memory its
    process may have and then aborts, as native libraries do. `letters`: the length of its result.
    """

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(0.0, ge=0, le=3600)
    block_s: float = Field(0.0, ge=0, le=3600)
    two_stages: bool = False
    dies: Literal["killed", "memory"] | None = None
    letters: int = Field(0, ge=0)


class Letters(BaseModel):
    """From the first stage to the second."""

    letters: int


def register() -> None:
    """Let the registries of this process know the kind; before anything else of the product is imported."""
    assert isinstance(KINDS, dict)
    KINDS[KIND] = Kind(KIND, ProbeInput, None, {"act": Stage(POOL), "end": Stage(POOL, carry=Letters)})
    consumers.stages.__path__.append(str(Path(__file__).parent / "stages"))
