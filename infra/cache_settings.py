"""The settings of what workers fetch and keep on their machine: adapters and weights."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from infra.setting_types import prefixed as _prefix


class LoraSettings(BaseSettings):
    """Where workers keep the LoRA adapters that they fetched; those of one machine may share the folder."""

    model_config = _prefix("LORA_")
    cache: Path = Path(".welip/adapters")
    cache_bytes: int = Field(
        20 * 1024**3, ge=0, description="Beyond it, adapters that nobody uses are removed, the oldest use first."
    )


class WeightsSettings(BaseSettings):
    """Where workers keep weights that they fetched from object storage; those of one machine may share the folder."""

    model_config = _prefix("WEIGHTS_")
    cache: Path = Field(Path(".welip/weights"), description="Nothing is removed from it.")
