"""How a worker of the pool `train` trains: read from the environment with the settings in `infra/settings.py`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class TrainingSettings(BaseSettings):
    """The environment in which it trains, where it keeps files meanwhile, and which processes take part.

    Of several machines, `machine` 0 takes jobs. The others join in with `python -m infra.training.join`, and see the
    same `folder`.
    """

    model_config = SettingsConfigDict(env_prefix="WELIP_TRAINING_", extra="ignore", frozen=True)
    python: Path | None = Field(
        None, description="A Python with TRL and PEFT; absent: this one's, else that of `make training-env`."
    )
    folder: Path = Path(".welip/training")
    processes: int = Field(1, ge=1, le=64, description="On this machine, one for each GPU.")
    parallel: Literal["ddp", "fsdp", "deepspeed"] = Field(
        "ddp", description="`ddp`: each device holds the model; `fsdp`, `deepspeed`: it is divided among GPUs."
    )
    zero_stage: Literal["1", "2", "3"] = Field("3", description="Of DeepSpeed: what is divided; 3: the weights, too.")
    machines: int = Field(1, ge=1, le=64, description="That train one model together.")
    machine: int = Field(0, ge=0, lt=64, description="The number of this one; 0 takes the jobs.")
    main: str | None = Field(None, description="Of several machines: the address of machine 0.")
    main_port: int = Field(29_500, ge=1, le=65_535, description="Of several machines: where machine 0 listens.")
    llama_cpp: Path | None = Field(None, description="A checkout of llama.cpp, for exports as GGUF.")

    @model_validator(mode="after")
    def _machines_can_meet(self) -> Self:
        if self.machine >= self.machines:
            raise ValueError(f"machine: the machines are 0 to {self.machines - 1}")
        if self.machines > 1 and not self.main:
            raise ValueError("main: several machines need the address of machine 0")
        return self


NAME = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
"""Of a thing in Kubernetes."""
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?|[eE][0-9]+)?$")]


class KubeflowSettings(BaseSettings):
    """A Kubernetes cluster with Kubeflow Trainer, whose nodes train in place of this machine.

    Nodes see the volume of `claim` where this worker has its `WELIP_TRAINING_FOLDER`, which lies on that volume, too.
    """

    model_config = SettingsConfigDict(env_prefix="WELIP_KUBEFLOW_", extra="ignore", frozen=True)
    runtime: str | None = Field(
        None, pattern=NAME, max_length=253, description="The ClusterTrainingRuntime; absent: this machine trains."
    )
    namespace: str | None = Field(None, pattern=NAME, max_length=63, description="Absent: that of this worker's pod.")
    image: str = Field("welip/worker-train", min_length=1, max_length=500)
    claim: str = Field("welip-training", pattern=NAME, max_length=253)
    nodes: int = Field(8, ge=1, le=64, description="That a training may have at most.")
    limits: dict[str, Quantity] = Field({}, description="Of a node, by resource.")
