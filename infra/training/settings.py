"""How a worker of the pool `train` trains: read from the environment with the settings in `infra/settings.py`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TrainingSettings(BaseSettings):
    """The environment in which it trains, where it keeps files meanwhile, and how many processes take part."""

    model_config = SettingsConfigDict(env_prefix="WELIP_TRAINING_", extra="ignore", frozen=True)
    python: Path | None = Field(
        None, description="A Python with TRL and PEFT; absent: this one's, else that of `make training-env`."
    )
    folder: Path = Path(".welip/training")
    processes: int = Field(1, ge=1, le=64, description="On this machine, one for each GPU: data-parallel.")
