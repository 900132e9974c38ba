"""A training with a gate: what decides is checked before anything is trained, and the job tells what was decided."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from consumers.stages.ports import ChildSummary
from consumers.stages.registry import stage
from infra.corpora.items import read_items
from schemas.adapters import NewAdapter
from schemas.errors import InvalidInput, NotFound
from schemas.kinds.evaluation.items import Dataset, Item
from schemas.kinds.evaluation.result import GateResult
from schemas.kinds.promotion import PromotionInput, PromotionResult
from schemas.kinds.training import Chosen, DataReport, TrainingInput, TrainingMetrics, TrainingResult
from schemas.kinds.training.carries import Prepared, Registered, Trained
from schemas.lifecycle import JobState
from schemas.lineage import Lineage, SourceFile
from schemas.models import Models, TransformersModel
from schemas.outcomes import Done, Fail, FanOut, Next, Outcome
from schemas.promotions import Evidence, MetricEvidence
from schemas.tracking import MAIN, run_id
from tests.unit.ports_in_memory import World

MODELS = Models((TransformersModel(name="small", engine="transformers", weights="org/small", revision="abc"),))
NO_FILE = f"file_{'0' * 32}"
ASKED: dict[str, Any] = {"base_model": "small", "register_as": "rules", "gate": {"alias": "support"}}
SETTINGS = Chosen(
    device="cpu", processes=1, precision="float32", learning_rate=2e-4, batch_size=8, device_batch_size=8,
    accumulation=1, max_length=64, gradient_checkpointing=False, trainable_parameters=10, parameters=100,
    expected_memory_bytes=1_000,
)  # fmt: skip
METRICS = TrainingMetrics(
    steps=20, epochs=2, train_loss=0.5, validation_loss_before=2, validation_loss=0.7, tokens_per_s=9, seconds=3,
    peak_memory_bytes=5,
)  # fmt: skip


def world() -> World:
    return World(models=MODELS)


def lines(*rows: Any) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def examples(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"질문 {n}", "completion": f"답 {n}"} for n in range(count)]


async def prepared(here: World, data: bytes, **changes: Any) -> Prepared:
    asked = {**ASKED, "dataset": here.upload(data, "rows.jsonl"), "validation_share": 0.3, **changes}
    outcome = await stage("training", "prepare")(here.job("training", "prepare", asked), here.ports)
    assert isinstance(outcome, Next)
    assert isinstance(outcome.carry, Prepared)
    return outcome.carry


def questions(here: World, file: str, folder: Path) -> list[Item]:
    """The file as the evaluation reads it."""
    found = folder / "questions.jsonl"
    found.write_bytes(here.blobs.data[here.files.named[file].blob])
    with found.open("rb") as read:
        items = list(read_items(read, Dataset(file=file), "jsonl"))
    assert all(isinstance(one, Item) for one in items), items
    return [one for one in items if isinstance(one, Item)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"register_as": None}, "give `register_as`"),
        ({"gate": {"alias": "support", "dataset": {"file": NO_FILE}}}, "that are trained on"),
        ({"validation_share": 0}, "nothing is held out"),
        ({"gate": {"alias": "a:b"}}, "alias"),
        ({"gate": {"alias": "support", "metrics": ["nothing"]}}, "no metric 'nothing'"),
        ({"gate": {"alias": "support", "way": {"top_k": 3}}}, "collection"),
    ],
)
def test_a_gate_that_cannot_decide_is_refused_when_it_is_submitted(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainingInput.model_validate({**ASKED, "dataset": NO_FILE, **changes})


async def test_held_out_examples_are_the_questions_where_none_are_given(tmp_path: Path) -> None:
    here = world()
    talk = [
        {"role": "system", "content": "짧게."},
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "!"},
    ]
    carry = await prepared(here, lines(*examples(60), *({"messages": talk} for _ in range(1))))
    assert carry.data.questions is not None
    assert carry.validation is not None
    held_out = {
        row["prompt"][0]["content"]: row["completion"][0]["content"]
        for row in map(json.loads, here.blobs.data[carry.validation].splitlines())
        if len(row["prompt"]) == 1
    }
    asked = questions(here, carry.data.questions, tmp_path)
    assert {one.question: one.references for one in asked} == {key: [value] for key, value in held_out.items()}
    assert held_out


async def test_answers_to_one_question_are_references_of_one_item(tmp_path: Path) -> None:
    here = world()
    rows = [{"prompt": "질문", "chosen": said, "rejected": "모름"} for said in ("하나", "둘")]
    held = here.upload(lines(*rows), "held.jsonl")
    trained = lines(*({"prompt": f"다른 {n}", "chosen": "답", "rejected": "모름"} for n in range(5)))
    carry = await prepared(here, trained, validation=held, method="dpo")
    assert carry.data.questions is not None
    [one] = questions(here, carry.data.questions, tmp_path)
    assert (one.question, one.references) == ("질문", ["하나", "둘"])


async def test_what_was_trained_on_is_known_by_its_digest() -> None:
    here = world()
    data = lines(*examples(30))
    carry = await prepared(here, data)
    assert carry.data.dataset is not None
    assert (carry.data.dataset.filename, carry.data.dataset.bytes) == ("rows.jsonl", len(data))
    assert carry.data.dataset.sha256 == here.files.named[carry.data.dataset.file].sha256


async def test_a_gate_that_asks_what_is_trained_on_is_refused_whatever_its_file_is_called() -> None:
    here = world()
    data = lines(*examples(30))
    gate = {"alias": "support", "dataset": {"file": here.upload(data, "questions.jsonl"), "question": "prompt"}}
    with pytest.raises(InvalidInput) as error:
        await prepared(here, data, gate=gate)
    assert (error.value.reason, error.value.field) == ("gate_not_held_out", "input.gate.dataset")


@pytest.mark.parametrize("share", [0.0001, 0.5])
async def test_a_gate_without_a_question_is_refused_before_anything_is_trained(share: float) -> None:
    talk = [{"role": "system", "content": "짧게."}, {"role": "user", "content": "?"}]
    rows = [{"messages": [*talk, {"role": "assistant", "content": f"답 {n}"}]} for n in range(20)]
    rows += [
        {"messages": [{"role": "system", "content": f"{n}"}, *talk[1:], {"role": "assistant", "content": "답"}]}
        for n in range(20)
    ]
    with pytest.raises(InvalidInput) as error:
        await prepared(world(), lines(*rows), validation_share=share)
    assert (error.value.reason, error.value.field) == ("gate_empty", "input.gate")


async def test_a_file_of_questions_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound) as error:
        await prepared(world(), lines(*examples(9)), gate={"alias": "support", "dataset": {"file": NO_FILE}})
    assert error.value.field == "input.gate.dataset.file"


@dataclass
class Registry:
    kept: list[tuple[Lineage, UUID | None]] = field(default_factory=list)

    async def registered(self, tenant: str, new: NewAdapter, lineage: Lineage, run: UUID | None) -> str:
        self.kept.append((lineage, run))
        return f"{new.base}:{new.name}@1"


def result(**data: Any) -> TrainingResult:
    source = SourceFile(file=NO_FILE, filename="rows.jsonl", bytes=9, sha256="ab")
    report = DataReport(rows=20, validation_rows=4, duplicates=0, overlapping=0, dataset=source, **data)
    return TrainingResult(
        adapter=f"file_{'1' * 32}", model=None, registered=False, metrics=METRICS, data=report, settings=SETTINGS,
        metrics_file="file_m", resumes=0, warnings=[],
    )  # fmt: skip


async def registers(here: World, registry: Registry, **changes: Any) -> Outcome:
    ports = here.ports
    ports.adapter_registry = registry
    carry = Trained(result=result(questions=f"file_{'2' * 32}"), leftovers=[])
    asked = {**ASKED, "dataset": NO_FILE, **changes}
    return await stage("training", "register")(here.job("training", "register", asked, carry), ports)


async def test_a_registered_adapter_goes_through_its_gate_by_the_version_it_got() -> None:
    outcome = await registers(world(), Registry())
    assert isinstance(outcome, FanOut)
    [child] = outcome.children
    assert (child.kind, child.key, outcome.then) == ("promotion", "gate", "conclude")
    assert isinstance(child.input, PromotionInput)
    assert (child.input.alias, child.input.model) == ("support", "small:rules@1")
    assert child.input.dataset == Dataset(file=f"file_{'2' * 32}")
    own = {"alias": "support", "items": [{"question": "?", "reference": "!"}], "by": 0.2, "metrics": ["contains"]}
    outcome = await registers(world(), Registry(), gate=own)
    assert isinstance(outcome, FanOut)
    [child] = outcome.children
    assert isinstance(child.input, PromotionInput)
    assert (child.input.dataset, child.input.by, child.input.metrics) == (None, 0.2, ["contains"])


async def test_where_an_adapter_comes_from_is_kept_with_it() -> None:
    registry, here = Registry(), world()
    assert isinstance(await registers(here, registry, gate=None, hyperparameters={"rank": 4}), Done)
    [(lineage, run)] = registry.kept
    assert run == run_id(UUID(int=0), MAIN)
    assert MAIN in here.tracker.runs
    assert (lineage.base, lineage.weights, lineage.revision) == ("small", "org/small", "abc")
    assert lineage.dataset is not None
    assert (lineage.dataset.sha256, lineage.rows, lineage.held_out) == ("ab", 20, 4)
    assert (lineage.parameters["rank"], lineage.parameters["learning_rate"]) == (4, 2e-4)
    assert lineage.metrics["validation_loss"] == 0.7


def promotion(*, promoted: bool) -> PromotionResult:
    gain = 0.1 if promoted else -0.5
    gate = GateResult(
        metric="f1", variant="candidate", against="champion", value=gain - 0.04, limit=-0.05, passed=promoted
    )
    told = MetricEvidence(champion=0.8, candidate=0.8 + gain, gain=gain, ci95=[gain - 0.04, gain + 0.04])
    evidence = Evidence(evaluation="job_1", items=9, metrics={"f1": told}, gates=[gate])
    return PromotionResult(
        alias="support", model="small:rules@1", previous="small", promoted=promoted, evidence=evidence
    )


async def concluded(state: JobState, told: PromotionResult | None, code: str | None = None) -> Outcome:
    here = world()
    error = None if code is None else {"code": code, "message": "row 3", "retryable": False}
    shown = None if told is None else told.model_dump()
    here.children.summaries = [ChildSummary("gate", "promotion", 1, state, {}, shown, error, uuid4())]
    carry = Registered(result=result().model_copy(update={"model": "small:rules@1", "registered": True}))
    job = here.job("training", "conclude", {**ASKED, "dataset": NO_FILE}, carry)
    return await stage("training", "conclude")(job, here.ports)


async def test_a_promoted_and_a_refused_adapter_are_trainings_that_succeeded() -> None:
    outcome = await concluded(JobState.SUCCEEDED, promotion(promoted=True))
    assert isinstance(outcome, Done)
    made = TrainingResult.model_validate(outcome.result)
    assert made.gate is not None
    assert (made.gate.promoted, made.gate.previous, made.gate.why) == (True, "small", None)
    outcome = await concluded(JobState.FAILED, promotion(promoted=False), "gate_not_passed")
    assert isinstance(outcome, Done)
    made = TrainingResult.model_validate(outcome.result)
    assert made.gate is not None
    assert (made.gate.promoted, made.model) == (False, "small:rules@1")
    assert made.gate.why is not None
    assert "f1 0.300 beside 0.800, difference -0.500" in made.gate.why


@pytest.mark.parametrize(
    ("state", "told", "code"),
    [
        (JobState.FAILED, None, "gate_failed"),
        (JobState.FAILED, None, "champion_changed"),
        (JobState.CANCELLED, None, None),
    ],
)
async def test_without_a_decision_the_job_fails_and_keeps_what_was_trained(
    state: JobState, told: PromotionResult | None, code: str | None
) -> None:
    outcome = await concluded(state, told, code)
    assert isinstance(outcome, Fail)
    assert outcome.error.reason == "gate_undecided"
    assert (code or "cancelled") in outcome.error.message
    assert outcome.result is not None
    assert outcome.result["model"] == "small:rules@1"
