"""`noop`: does nothing, for measuring WeLIP itself and for trying a deployment."""

from pydantic import BaseModel, ConfigDict, Field


class NoopInput(BaseModel):
    """`sleep_s`: how long the job pretends to work, 0 to 3,600 seconds; `steps`: how many progress reports it makes."""

    model_config = ConfigDict(extra="forbid")

    sleep_s: float = Field(0.0, ge=0, le=3600)
    steps: int = Field(1, ge=1, le=100)
