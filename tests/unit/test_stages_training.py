"""The stages of `training` without torch: the data is checked, a run is followed, its end becomes the job's."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, ValidationError

from consumers.stages import patience
from consumers.stages.context import StageJob
from consumers.stages.ports import Deployment, Evaluation, Ports, SeenTrial
from consumers.stages.registry import stage
from consumers.stages.training import curve, pausing
from consumers.stages.training.choosing import batch_size
from consumers.stages.training.curve import line
from schemas.adapters import NewAdapter
from schemas.errors import (
    Conflict,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    StorageFull,
    TrainingBroke,
    TrainingFailed,
)
from schemas.kinds.training import Chosen, DataReport, TrainingInput, TrainingResult
from schemas.kinds.training.carries import Prepared, Trained
from schemas.kinds.training.plan import (
    Begun,
    Counted,
    Ended,
    Failed,
    Frame,
    Saved,
    Stepped,
    Stopped,
    Tokenised,
    TrainingPlan,
)
from schemas.kinds.training.trial import TrialInput
from schemas.lifecycle import JobState
from schemas.lineage import Lineage, SourceFile
from schemas.models import Models, OpenAIModel, TransformersModel, VllmModel
from schemas.outcomes import UNTIL_RESUMED, Cancelled, Done, Fail, Next, Outcome, Snooze
from tests.unit.ports_in_memory import MemoryBlobs, World

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


async def test_a_dataset_is_split_without_duplicates_and_always_alike() -> None:
    data = dataset(*map(asked, range(200)), asked(3), asked(3))
    world, carry = await prepared(data)
    report = carry.data
    assert (report.duplicates, report.rows + report.validation_rows) == (2, 200)
    assert 5 <= report.validation_rows <= 40
    train, held = rows(world, carry.train), rows(world, carry.validation)
    assert not [one for one in held if one in train]
    assert any("repeat" in warning for warning in carry.warnings)
    again, carry = await prepared(data)
    assert rows(again, carry.validation) == held


async def test_examples_of_one_question_stay_on_one_side() -> None:
    both = [{"prompt": f"질문 {n}", "completion": said} for n in range(60) for said in ("하나", "둘")]
    world, carry = await prepared(dataset(*both), validation_share=0.5)
    sides = [{one["prompt"][0]["content"] for one in rows(world, key)} for key in (carry.train, carry.validation)]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


async def test_what_is_in_the_validation_file_is_not_trained_on() -> None:
    world, carry = await prepared(dataset(*map(asked, range(10))), held=dataset(asked(1), asked(77), asked(1)))
    assert carry.data.model_dump(include={"rows", "validation_rows", "overlapping", "duplicates"}) == {
        "rows": 9,
        "validation_rows": 2,
        "overlapping": 1,
        "duplicates": 1,
    }
    assert [one["prompt"][0]["content"] for one in rows(world, carry.validation)] == ["질문 1", "질문 77"]


async def test_wrong_rows_are_named_and_counted() -> None:
    wrong = [{"prompt": "x"}] * 14
    error = await refused(dataset(asked(1), *wrong))
    assert (error.reason, error.field) == ("dataset_invalid", "input.dataset")
    assert error.message.startswith("14 rows are not usable: row 2: ")
    assert error.message.count("row ") == 10
    assert error.message.endswith("; ...")


@pytest.mark.parametrize(
    ("data", "name", "changes", "code", "field"),
    [
        (b"", "a.jsonl", {}, "dataset_empty", "input.dataset"),
        (dataset(asked(1)), "a.doc", {}, "dataset_format_unknown", "input.format"),
        (dataset(asked(1)), "a.jsonl", {"held": dataset(asked(1))}, "dataset_empty", "input.dataset"),
        (dataset(asked(1)), "a.jsonl", {"held": dataset({"prompt": "x"})}, "dataset_invalid", "input.validation"),
        (dataset(asked(1)), "a.jsonl", {"base_model": "nobody"}, "model_not_found", "input.base_model"),
        (dataset(asked(1)), "a.jsonl", {"base_model": "elsewhere"}, "base_not_trainable", "input.base_model"),
        (
            dataset(asked(1)),
            "a.jsonl",
            {"base_model": "plain", "register_as": "x"},
            "adapter_not_servable",
            "input.register_as",
        ),
        (
            dataset(asked(1)),
            "a.jsonl",
            {"base_model": "large", "register_as": "x", "hyperparameters": {"rank": 32}},
            "adapter_not_servable",
            "input.hyperparameters.rank",
        ),
    ],
)
async def test_what_cannot_be_trained_is_refused_before_anything_is(
    data: bytes, name: str, changes: dict[str, Any], code: str, field: str
) -> None:
    error = await refused(data, name, **changes)
    assert (error.reason, error.field, error.retryable) == (code, field, False)


async def test_a_file_that_is_not_there_is_named() -> None:
    world = World()
    ports = world.ports
    ports.deployment = Deployment(models=MODELS)
    given = {"base_model": "small", "dataset": f"file_{'0' * 32}"}
    with pytest.raises(NotFound, match="upload the dataset"):
        await stage("training", "prepare")(world.job("training", "prepare", given), ports)


@pytest.mark.parametrize("adapter", ["dora", "full"])
def test_what_engines_do_not_serve_cannot_be_registered(adapter: str) -> None:
    with pytest.raises(ValidationError, match="the engines serve no adapter of the kind"):
        TrainingInput.model_validate({"dataset": f"file_{'0' * 32}", "adapter": adapter, "register_as": "mine"})


class Registry:
    error: Exception | None = None

    async def registered(self, tenant: str, new: NewAdapter, lineage: Lineage, run: UUID | None) -> str:
        if self.error is not None:
            raise self.error
        assert lineage.archive == new.file
        return f"{new.base}:{new.name}@1 of {tenant}"


async def test_a_run_that_ends_leaves_an_archive_and_figures_and_then_no_checkpoint(tmp_path: Path) -> None:
    here = place(
        tmp_path,
        [COUNTED, BEGUN, stepped(0, validation_loss=2.0), stepped(10, loss=1.0), saves(10), ends],
    )
    carry = await here.trained()
    assert set(carry.leftovers) >= {"t/rows", "t/held"}, "until the end is recorded they may be needed again"
    here.ports.adapter_registry = Registry()
    done = await here.register(carry)
    assert isinstance(done, Done)
    result = TrainingResult.model_validate(done.result)
    assert (result.registered, result.model, result.resumes) == (False, None, 0)
    assert (result.metrics.validation_loss_before, result.metrics.validation_loss) == (2.0, 0.7)
    assert (result.data.rows, result.data.tokens, result.data.masked_away) == (20, 900, 1)
    assert any("longer than max_length" in warning for warning in result.warnings)
    packed = here.archive(result.adapter)
    assert set(packed) == {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert json.loads(packed["adapter_config.json"])["base_model_name_or_path"] == "small"
    assert here.checkpoints == []
    assert "t/rows" not in here.world.blobs.data
    assert (10, 20, "loss 1.000 · 100 tokens/s · 2 s left") in here.world.reports
    plan = here.trainer.plans[0]
    assert (plan.weights, plan.batch_size, plan.learning_rate, plan.alpha) == ("/models/small", 2, 2e-4, 32)
    assert (tmp_path / "train.jsonl").read_bytes() == b"train\n"


async def test_a_named_adapter_is_registered_and_one_that_is_refused_is_still_the_result(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, ends], base_model="large", register_as="mine")
    carry = await here.trained()
    here.ports.adapter_registry = registry = Registry()
    done = await here.register(carry)
    assert isinstance(done, Done)
    assert (done.result["model"], done.result["registered"]) == ("large:mine@1 of t", True)
    registry.error = Conflict("too many", code="too_many_adapters")
    failed = await here.register(carry)
    assert isinstance(failed, Fail)
    assert failed.result is not None
    assert failed.result["adapter"] == done.result["adapter"]
    registry.error = DependencyUnavailable("away")
    with pytest.raises(DependencyUnavailable):
        await here.register(carry)


async def test_a_worker_that_stops_stores_its_checkpoint_and_the_next_goes_on_from_there(tmp_path: Path) -> None:
    here = place(
        tmp_path,
        [COUNTED, BEGUN, stepped(0, validation_loss=2.0), saves(10), Stopped(step=10)],
        [COUNTED, BEGUN, ends],
    )
    assert await here.train() == Snooze(timedelta(0))
    assert here.checkpoints
    here.job = World.again(here.job)
    result = (await here.trained()).result
    assert here.trainer.resumed[1]["adapter_model.safetensors"] == b"weights 10"
    assert here.trainer.resumed[1]["optimizer.pt"] == b"moments"
    assert (result.resumes, result.metrics.validation_loss_before) == (1, 2.0)
    assert result.metrics.seconds == pytest.approx(3.0)


async def test_where_memory_runs_out_half_of_the_examples_are_taken_once(tmp_path: Path) -> None:
    broke = Failed(code="out_of_memory", message="CUDA out of memory")
    here = place(tmp_path, [COUNTED, BEGUN, saves(5), broke], [COUNTED, BEGUN, ends])
    result = (await here.trained()).result
    assert [plan.device_batch_size for plan in here.trainer.plans] == ["auto", 4]
    assert here.trainer.plans[1].batch_size == here.trainer.plans[0].batch_size
    assert here.trainer.resumed[1]["adapter_model.safetensors"] == b"weights 5"
    assert any("4 examples at a time from step 5 on" in warning for warning in result.warnings)


async def test_memory_that_runs_out_twice_fails_the_job(tmp_path: Path) -> None:
    broke = Failed(code="out_of_memory", message="CUDA out of memory")
    here = place(tmp_path, [COUNTED, BEGUN, broke], [COUNTED, BEGUN, broke])
    with pytest.raises(TrainingFailed) as failed:
        await here.train()
    assert (failed.value.reason, failed.value.retryable) == ("out_of_memory", False)


async def test_a_loss_that_is_no_number_leaves_the_last_good_adapter(tmp_path: Path) -> None:
    broken = Failed(code="loss_not_finite", message="at step 12 ...")
    here = place(tmp_path, [COUNTED, BEGUN, saves(5), saves(10), broken])
    failed = await here.train()
    assert isinstance(failed, Fail)
    assert failed.error.reason == "loss_not_finite"
    assert failed.result is not None
    packed = here.archive(failed.result["adapter"])
    assert packed["adapter_model.safetensors"] == "weights 10"
    assert "optimizer.pt" not in packed


async def test_a_fault_of_the_machine_is_tried_again(tmp_path: Path) -> None:
    here = place(tmp_path, [Failed(code="disk_full", message="full", retryable=True)])
    with pytest.raises(TrainingBroke) as broke:
        await here.train()
    assert (broke.value.reason, broke.value.retryable) == ("disk_full", True)


class Away(MemoryBlobs):
    """Fails so many writes of checkpoints."""

    error: Exception
    times = 0

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "") -> int:
        if "/checkpoints/" in key and self.times:
            self.times -= 1
            raise self.error
        return await super().put_stream(key, chunks)


def with_storage(here: Place, error: Exception, times: int) -> None:
    blobs = Away(here.world.blobs.data)
    blobs.error, blobs.times = error, times
    here.ports.blobs = blobs


async def test_a_checkpoint_waits_until_storage_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)
    here = place(tmp_path, [COUNTED, BEGUN, saves(5), saves(10), saves(15), Stopped(step=15)])
    with_storage(here, DependencyUnavailable("away"), 3)
    assert await here.train() == Snooze(timedelta(0))
    assert any("/checkpoints/1-15/" in key for key in here.checkpoints)
    assert len(list((tmp_path / "output").glob("checkpoint-*"))) == 1, "what is stored is removed from the disk"


async def test_a_full_storage_ends_the_training(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, saves(5), Stopped(step=5)])
    with_storage(here, StorageFull("full"), 1)
    with pytest.raises(StorageFull):
        await here.train()


@dataclass
class Trials:
    """Four trials that are complete, and the one that runs."""

    mine: UUID
    told: list[Evaluation] = field(default_factory=list)

    async def evaluated(self, trial: UUID, step: int, loss: float) -> list[SeenTrial]:
        assert trial == self.mine
        self.told.append(Evaluation(step, loss, datetime.now(UTC)))
        others = [
            SeenTrial(uuid4(), str(n), JobState.SUCCEEDED, [Evaluation(s, 1.0, datetime.now(UTC)) for s in (5, 10, 15)])
            for n in range(4)
        ]
        return [*others, SeenTrial(trial, "4", JobState.RUNNING, list(self.told))]

    async def seen(self, search: UUID) -> list[SeenTrial]:
        raise AssertionError("only the search asks this")


class OptunaThere:
    async def ready(self) -> None:
        return None


def trial_of(here: Place, **changes: Any) -> Trials:
    """The job becomes a trial of a search."""
    trial = {"search": str(uuid4()), "number": 4, "pruner": "median", "until": None, **changes}
    asked = {**here.job.input.model_dump(mode="json"), "trial": trial}
    here.job = replace(here.job, input=TrialInput.model_validate(asked))
    here.ports.trials = trials = Trials(here.job.id)
    here.ports.optimiser = OptunaThere()
    return trials


def evaluates(*losses: float) -> list[Frame]:
    return [stepped(5 * at, validation_loss=loss) for at, loss in enumerate(losses)]


async def test_a_trial_that_others_beat_ends_as_pruned(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, *evaluates(3.0, 2.0, 1.9, 1.8, 1.7)])
    trials = trial_of(here)
    outcome = await here.train()
    assert outcome == Cancelled({"pruned": True, "evaluation": 2, "step": 10, "validation_loss": 1.9})
    assert [one.step for one in trials.told] == [5, 10], "the loss before the first step is not compared"


async def test_a_trial_is_not_stopped_at_its_last_step_nor_without_a_pruner(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, stepped(20, validation_loss=9.0), ends])
    assert trial_of(here) is not None
    assert isinstance(await here.train(), Next)
    (tmp_path / "other").mkdir()
    here = place(tmp_path / "other", [COUNTED, BEGUN, *evaluates(3.0, 9.0, 9.0, 9.0), ends])
    trials = trial_of(here, pruner=None)
    assert isinstance(await here.train(), Next)
    assert len(trials.told) == 3, "its losses are kept for the others and for the report"


async def test_a_trial_does_not_begin_when_the_time_of_its_search_is_over() -> None:
    world = World()
    trial = {"search": str(uuid4()), "number": 0, "pruner": None, "until": (datetime.now(UTC)).isoformat()}
    given = {"base_model": "small", "dataset": f"file_{'0' * 32}", "trial": trial}
    outcome = await stage("training", "prepare")(world.job("training", "prepare", given), world.ports)
    assert outcome == Cancelled({"skipped": True})


async def test_a_training_leaves_a_page_and_a_trial_does_not(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, ends], language="en")
    carry = await here.trained()
    here.job = World.again(here.job, stage="report", carry=carry)
    outcome = await stage("training", "report")(here.job, here.ports)
    assert isinstance(outcome, Next)
    assert isinstance(outcome.carry, Trained)
    assert outcome.stage == "register"
    report = outcome.carry.result.report
    assert report is not None
    html = here.world.blobs.data[here.world.files.named[report].blob].decode()
    assert "Training report" in html
    trial_of(here)
    assert await stage("training", "report")(here.job, here.ports) == Next("register", carry)


@pytest.mark.parametrize(("examples", "size"), [(3, 1), (16, 2), (64, 8), (10_000, 16)])
def test_a_small_dataset_gets_a_small_batch(examples: int, size: int) -> None:
    assert batch_size(examples, "sft") == size
    assert batch_size(examples, "kto") == max(4, size)


def test_the_live_line_tells_what_is_known() -> None:
    assert line(stepped(0, validation_loss=2.0)) == "validation 2.000"
    assert line(stepped(5, loss=1.5, left_s=240.0)) == "loss 1.500 · 100 tokens/s · 4 min left"


async def stops_when_told(plan: TrainingPlan) -> Frame:
    while not Path(plan.stop_file).exists():  # noqa: ASYNC240 - no file is read
        await asyncio.sleep(0.01)
    return Stopped(step=10)


async def test_a_paused_training_saves_a_checkpoint_leaves_its_worker_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "EVERY_S", 0.01)

    def paused(plan: TrainingPlan) -> Frame:
        here.world.steering.pause = True
        return stepped(9, loss=1.0)

    here = place(tmp_path, [COUNTED, BEGUN, paused, saves(10), stops_when_told], [COUNTED, BEGUN, ends])
    assert await here.train() == Snooze(UNTIL_RESUMED)
    assert any("/checkpoints/1-10/" in key for key in here.checkpoints)
    here.job = World.again(here.job)
    assert await here.train() == Snooze(UNTIL_RESUMED), "a paused job that a worker takes all the same leaves it"
    assert len(here.trainer.plans) == 1
    here.world.steering.pause = False
    (tmp_path / "stop").unlink()  # in its own workspace, the next try finds none
    assert (await here.trained()).result.resumes == 1
    assert here.trainer.resumed[1]["adapter_model.safetensors"] == b"weights 10"


async def test_what_a_step_measured_is_in_the_jobs_events_and_in_the_tracker(tmp_path: Path) -> None:
    figures = {"loss": 1.5, "learning_rate": 1e-4, "gradient_norm": 0.5, "left_s": 30.0}
    here = place(
        tmp_path,
        [
            COUNTED,
            BEGUN,
            stepped(0, steps=0, validation_loss=2.0),  # as the trainer says before it has begun
            stepped(1, **figures),
            stepped(2, loss=1.4),  # too soon after the one before
            stepped(2, validation_loss=1.9),
            stepped(3, loss=1.3),
            ends,
        ],
        experiment="rules",
        register_as="mine",
        base_model="large",
    )
    read = SourceFile(file="file_1", filename="a.jsonl", bytes=3, sha256="ab")
    carry = here.job.carry.model_copy(update={"data": here.job.carry.data.model_copy(update={"dataset": read})})
    here.job = World.again(here.job, carry=carry)
    result = (await here.trained()).result
    first = {**figures, "epoch": 0.1, "tokens_per_s": 100.0, "memory_bytes": 1.0}
    last = {**first, "loss": 1.3, "left_s": 2.0}
    del last["learning_rate"], last["gradient_norm"]
    assert (0, 20, "validation 2.000") in here.world.reports
    assert here.world.metrics == [{"validation_loss": 2.0}, first, {"validation_loss": 1.9}, last]
    tracker = here.world.tracker
    assert tracker.curves == {
        ("", 0): {"validation_loss": 2.0},
        ("", 1): first,
        ("", 2): {"validation_loss": 1.9},
        ("", 3): last,
    }
    run = tracker.runs[""]
    assert (run.experiment, run.tags["welip.dataset.sha256"]) == ("rules", "ab")
    assert {name: run.params[name] for name in ("method", "epochs", "alpha", "learning_rate", "rows", "device")} == {
        "method": "sft",
        "epochs": "3.0",
        "alpha": "32",
        "learning_rate": "0.0002",
        "rows": "20",
        "device": "cpu",
    }
    assert not [value for value in run.params.values() if str(tmp_path) in value], "no path of the machine"
    assert tracker.files == {("", "metrics.jsonl"): result.metrics_file}
    assert result.tracking is not None
    assert result.tracking.experiment == "t/rules"


async def test_figures_wait_for_a_tracker_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "EVERY_S", 0.0)

    def back(plan: TrainingPlan) -> Frame:
        here.world.tracker.away = False
        return stepped(3, loss=1.0)

    here = place(tmp_path, [COUNTED, BEGUN, stepped(1, loss=2.0), stepped(2, loss=1.5), back, ends])
    here.world.tracker.away = True
    result = (await here.trained()).result
    losses = {step: told["loss"] for (_, step), told in here.world.tracker.curves.items()}
    assert losses == {1: 2.0, 2: 1.5, 3: 1.0}
    assert result.tracking is not None


async def test_a_deployment_without_a_tracker_trains_as_well(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, BEGUN, stepped(1, loss=2.0), ends])
    here.world.tracker.off = True
    assert (await here.trained()).result.tracking is None
    assert not here.world.tracker.curves


def tokenises(plan: TrainingPlan) -> Frame:
    file = Path(plan.output) / "made.zip"
    file.write_bytes(b"tokens")
    return Tokenised(file=str(file))


async def test_another_training_of_the_same_examples_finds_them_tokenised(tmp_path: Path) -> None:
    here = place(tmp_path, [COUNTED, tokenises, BEGUN, ends])
    await here.trained()
    assert here.trainer.plans[0].tokenised is None
    [kept] = [key for key in here.world.blobs.data if "/tokenised/" in key]
    assert kept in here.world.expiry.after, "it goes by itself"

    async def tokenised(name: str, rows: bytes = b"train\n", **changes: Any) -> bytes | None:
        folder = tmp_path / name
        folder.mkdir()
        other = place(folder, [COUNTED, BEGUN, ends], **changes)
        other.world.blobs.data |= {kept: b"tokens", "t/rows": rows}
        await other.trained()
        found = other.trainer.plans[0].tokenised
        return None if found is None else Path(found).read_bytes()  # noqa: ASYNC240 - small, in a test

    assert await tokenised("rate", hyperparameters={"learning_rate": 0.1, "rank": 4, "batch_size": 8}) == b"tokens"
    assert await tokenised("rows", b"others\n") is None
    assert await tokenised("length", hyperparameters={"max_length": 64}) is None
    assert await tokenised("method", method="dpo") is None
    assert await tokenised("base", base_model="large") is None


async def test_a_tenant_without_room_trains_all_the_same(tmp_path: Path) -> None:
    class Full(MemoryBlobs):
        async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "") -> int:
            if "/tokenised/" in key:
                raise StorageFull("full")
            return await super().put_stream(key, chunks)

    here = place(tmp_path, [COUNTED, tokenises, BEGUN, ends])
    here.ports.blobs = Full(here.world.blobs.data)
    assert (await here.trained()).result.metrics.steps == 20
