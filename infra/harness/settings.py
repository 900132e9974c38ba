"""Where lm-evaluation-harness runs: read from the environment with the settings in `infra/settings.py`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class HarnessSettings(BaseSettings):
    """The environment of lm-eval."""

    model_config = SettingsConfigDict(env_prefix="WELIP_HARNESS_", extra="ignore", frozen=True)
    python: Path | None = Field(None, description="A Python with lm-eval; absent: that of `make eval-env`.")
