"""A trainer that says what a test told it to, and a deployment that has one."""

import io
import json
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from consumers.stages.context import StageJob
from consumers.stages.ports import Deployment, Ports
from consumers.stages.registry import stage
from schemas.errors import (
    InvalidInput,
)
from schemas.kinds.training import Chosen, DataReport
from schemas.kinds.training.carries import Prepared, Trained
from schemas.kinds.training.plan import (
    Begun,
    Counted,
    Ended,
    Frame,
    Saved,
    Stepped,
    TrainingPlan,
)
from schemas.models import Models, OpenAIModel, TransformersModel, VllmModel
from schemas.outcomes import Next, Outcome
from tests.unit.ports_in_memory import World

MODELS = Models(
    (
        TransformersModel(name="small", engine="transformers", weights="/models/small"),
        VllmModel(name="large", engine="vllm", weights="org/large", options={"enable_lora": True}),
        VllmModel(name="plain", engine="vllm", weights="org/plain"),
        OpenAIModel(name="elsewhere", engine="openai", url="http://localhost/v1"),
    )
)


CHOSEN = Chosen(
    device="cpu",
    processes=1,
    precision="float32",
    learning_rate=2e-4,
    batch_size=8,
    device_batch_size=8,
    accumulation=1,
    max_length=64,
    gradient_checkpointing=False,
    trainable_parameters=10,
    parameters=100,
    expected_memory_bytes=1_000,
)


BEGUN = Begun(step=0, steps=20, chosen=CHOSEN)


COUNTED = Counted(rows=20, validation_rows=2, tokens=900, longest=70, too_long=3, masked_away=1)


def stepped(step: int, **changes: Any) -> Stepped:
    figures = {"tokens_per_s": 100.0, "memory_bytes": 1, "seconds": step / 10, "left_s": 2.0, "epoch": 0.1}
    return Stepped.model_validate({"step": step, "steps": 20, **figures, **changes})


Said = Sequence[Frame | Callable[[TrainingPlan], Frame | Awaitable[Frame]]]


def begins(plan: TrainingPlan) -> dict[str, bytes]:
    """What a run finds where it goes on."""
    output = Path(plan.output)
    output.mkdir(exist_ok=True)
    (output / "metrics.jsonl").write_text('{"loss": 1, "step": 10}\n')
    return {} if plan.resume is None else {path.name: path.read_bytes() for path in Path(plan.resume).iterdir()}


@dataclass
class Scripted:
    """A trainer that says what it was told to, a list for each run; it writes what its frames speak of."""

    folder: Path
    runs: list[Said]
    plans: list[TrainingPlan] = field(default_factory=list)
    resumed: list[dict[str, bytes]] = field(default_factory=list)

    def check(self, nodes: int) -> None:
        if nodes > 2:
            raise InvalidInput("too many", code="nodes_unavailable", field="input.nodes")

    @asynccontextmanager
    async def workspace(self) -> AsyncIterator[Path]:
        yield self.folder

    async def ready(self) -> bool:
        return True

    async def prepare(self) -> None:
        raise AssertionError("it is ready")

    async def here(self, base: Any) -> Any:
        return base

    async def run(self, plan: TrainingPlan) -> AsyncGenerator[Frame]:
        said = self.runs[len(self.plans)]
        self.plans.append(plan)
        self.resumed.append(begins(plan))
        for frame in said:
            made = frame(plan) if callable(frame) else frame
            yield made if isinstance(made, BaseModel) else await made


def model_in(folder: Path, mark: str) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/models/small", "r": 4}')
    (folder / "adapter_model.safetensors").write_text(mark)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ x }}")
    (folder / "optimizer.pt").write_text("moments")
    (folder / "trainer_state.json").write_text("{}")


def saves(step: int) -> Callable[[TrainingPlan], Frame]:
    def save(plan: TrainingPlan) -> Frame:
        folder = Path(plan.output) / f"checkpoint-{step}"
        model_in(folder, f"weights {step}")
        return Saved(step=step, folder=str(folder), seconds=step / 10)

    return save


def ends(plan: TrainingPlan) -> Frame:
    folder = Path(plan.output) / "final"
    model_in(folder, "final weights")
    return Ended(
        step=20,
        epoch=2.0,
        folder=str(folder),
        train_loss=0.5,
        validation_loss=0.7,
        tokens_per_s=120.0,
        seconds=2.0,
        peak_memory_bytes=5,
    )


@dataclass
class Place:
    """A deployment with one scripted trainer, and one job of it."""

    world: World
    ports: Ports
    trainer: Scripted
    job: StageJob[Any, Any]

    async def train(self) -> Outcome:
        return await stage("training", "train")(self.job, self.ports)

    async def trained(self) -> Trained:
        """What the run hands on."""
        outcome = await self.train()
        assert isinstance(outcome, Next)
        assert isinstance(outcome.carry, Trained)
        return outcome.carry

    async def register(self, carry: Trained) -> Outcome:
        self.job = World.again(self.job, stage="register", carry=carry)
        return await stage("training", "register")(self.job, self.ports)

    def archive(self, file: str) -> dict[str, str]:
        packed = zipfile.ZipFile(io.BytesIO(self.world.blobs.data[self.world.files.named[file].blob]))
        return {name: packed.read(name).decode() for name in packed.namelist()}

    @property
    def checkpoints(self) -> list[str]:
        return sorted(key for key in self.world.blobs.data if "/checkpoints/" in key)


def place(folder: Path, *runs: Said, **changes: Any) -> Place:
    world = World()
    ports = world.ports
    ports.deployment = Deployment(models=MODELS)
    ports.trainer = trainer = Scripted(folder, list(runs))
    world.blobs.data |= {"t/rows": b"train\n", "t/held": b"held\n"}
    data = DataReport(rows=21, validation_rows=2, duplicates=0, overlapping=0)
    carry = Prepared(train="t/rows", validation="t/held", data=data)
    asked = {"base_model": "small", "dataset": f"file_{'0' * 32}", **changes}
    return Place(world, ports, trainer, world.job("training", "train", asked, carry))


def dataset(*rows: Any) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def asked(n: int) -> dict[str, str]:
    return {"prompt": f"질문 {n}", "completion": f"답 {n}"}


async def prepared(
    data: bytes, name: str = "a.jsonl", held: bytes | None = None, **changes: Any
) -> tuple[World, Prepared]:
    world = World()
    ports = world.ports
    ports.deployment = Deployment(models=MODELS)
    given = {"base_model": "small", "dataset": world.upload(data, name), **changes}
    if held is not None:
        given["validation"] = world.upload(held, "held.jsonl")
    outcome = await stage("training", "prepare")(world.job("training", "prepare", given), ports)
    assert isinstance(outcome, Next)
    assert isinstance(outcome.carry, Prepared)
    return world, outcome.carry


async def refused(data: bytes, name: str = "a.jsonl", **changes: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        await prepared(data, name, **changes)
    return error.value


def rows(world: World, key: str | None) -> list[Any]:
    assert key is not None
    return [json.loads(line) for line in world.blobs.data[key].splitlines()]
