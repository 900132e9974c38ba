"""lm-eval's tasks in a benchmark, without lm-eval: who answers what it asks, and how its figures are read."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from consumers.stages.benchmark.harnessed import metrics
from consumers.stages.ports import Ports
from consumers.stages.ports.harness import Answer
from consumers.stages.registry import stage
from schemas.errors import BenchmarkFailed, EngineRefused, JobError
from schemas.kinds.benchmark import BenchmarkInput
from schemas.kinds.benchmark.harness import Answered, Asked, Asking, Ended, HarnessPlan, Told
from schemas.kinds.benchmark.result import BenchmarkResult, Measured
from schemas.outcomes import Done, Next
from schemas.retrieval import Usage
from schemas.text import Completion, Message, TextOptions
from tests.unit.ports_in_memory import World
from tests.unit.test_benchmark_stages import MODELS, Likely, choices

RESULTS = {
    "law": {"name": "law", "acc,none": 0.5, "acc_stderr,none": 0.25},
    "law_civil": {"acc,none": 1.0, "acc_stderr,none": "N/A", "exact_match,strict-match": 0.75},
}


@dataclass
class Asks:
    """Asks what it was made to ask; a `JobError` is raised. `prepared`: whether its environment was made."""

    asks: Sequence[Asked] = ()
    ends: JobError | None = None
    plans: list[HarnessPlan] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    prepared: bool = False
    folder: Path = Path()

    @asynccontextmanager
    async def workspace(self) -> AsyncIterator[Path]:
        yield self.folder

    async def ready(self) -> bool:
        return self.prepared

    async def prepare(self) -> None:
        self.prepared = True

    async def run(self, plan: HarnessPlan, answer: Answer, counted: Callable[[Asking], None]) -> Ended:
        self.plans.append(plan)
        counted(Asking(count=len(self.asks)))
        self.answers = [await answer(one) for one in self.asks]
        if self.ends is not None:
            raise self.ends
        samples = self.folder / "samples.jsonl"
        samples.write_text('{"task": "t"}\n')
        told = [
            Told(
                name=task.name,
                results=RESULTS,
                items={"law": 4, "law_civil": 2},
                versions={"law": "2.0"},
                shots={"law_civil": 5},
            )
            for task in plan.tasks
        ]
        return Ended(tasks=told, samples=str(samples), lm_eval="0.4.13")


@dataclass
class Writer(Likely):
    """Writes what it is told, in capital letters, and remembers how it was asked."""

    options: list[tuple[list[Message], TextOptions]] = field(default_factory=list)

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        self.options.append((list(messages), options))
        if messages[-1].content == "too long":
            raise EngineRefused("it is too long", code="prompt_too_long")
        return Completion(messages[-1].content.upper(), "stop", "tiny", Usage(3, 2))


def world(folder: Path, asks: Sequence[Asked] = (), **more: Any) -> tuple[World, Ports, Writer, Asks]:
    model = Writer(lambda _, end: -float(len(end)))
    there, harness = World(text_model=model, models=MODELS), Asks(asks, folder=folder, **more)
    ports = there.ports
    ports.harness = harness
    return there, ports, model, harness


async def benchmarked(there: World, ports: Ports, *tasks: dict[str, Any]) -> BenchmarkResult:
    input = {"model": "tiny", "tasks": tasks, "limit": 7}
    planned = await stage("benchmark", "plan")(there.job("benchmark", "plan", input), ports)
    assert isinstance(planned, Next)
    outcome = await stage("benchmark", "run")(there.job("benchmark", "run", input, planned.carry), ports)
    assert isinstance(outcome, Done)
    return BenchmarkResult.model_validate(outcome.result)


LAW = {"type": "lm_eval", "task": "law", "shots": 5}


async def test_the_model_answers_and_what_it_said_is_not_asked_again(tmp_path: Path) -> None:
    asks = [
        Asked(id=0, task="law", context="1 + 1 =", continuations=[" 2", " three"]),
        Asked(id=1, task="law", context="write", max_tokens=9, stop=["\n"]),
        Asked(id=2, task="law", context=json.dumps([{"role": "user", "content": "chat"}]), chat=True),
        Asked(id=3, task="law", context="write", max_tokens=9, stop=["\n"], temperature=0.5, nth=1),
    ]
    there, ports, model, harness = world(tmp_path, asks)
    result = await benchmarked(there, ports, LAW)
    assert harness.answers[0].likelihoods == [(-2.0, False), (-6.0, False)]
    assert [answer.text for answer in harness.answers[1:]] == ["WRITE", "CHAT", "WRITE"]
    raw, chat, other = (options for _, options in model.options)
    assert (raw.raw, raw.max_tokens, raw.stop, raw.temperature) == (True, 9, ["\n"], 0.0)
    assert (chat.raw, other.temperature) == (False, 0.5)
    assert model.options[1][0] == [Message("user", "chat")]
    again = await benchmarked(there, ports, LAW)
    assert (result.asked, result.reused, again.asked, again.reused) == (4, 0, 0, 4)
    assert len(model.options) == 3


async def test_lm_evals_figures_are_told_for_the_group_and_each_of_its_tasks(tmp_path: Path) -> None:
    there, ports, _, harness = world(tmp_path)
    result = await benchmarked(there, ports, LAW | {"name": "bar"}, choices(there))
    own, group, one = result.tasks
    assert (own.name, group.name, one.name) == ("accuracy", "bar", "bar.law_civil")
    assert group.metrics == {"acc": Measured(value=0.5, stderr=0.25)}
    assert one.metrics["exact_match.strict-match"] == Measured(value=0.75, stderr=None)
    assert (group.items, group.version, one.shots, one.type) == (4, "2.0", 5, "lm_eval")
    assert result.versions["lm_eval"] == "0.4.13"
    [plan] = harness.plans
    assert (plan.limit, plan.tasks[0].shots, plan.tasks[0].data) == (7, 5, None)
    assert harness.prepared
    samples = there.blobs.data[there.files.named[result.samples].blob].splitlines()
    assert len(samples) == 4
    assert json.loads(samples[-1]) == {"task": "t"}


def content(file: str) -> bytes:
    return Path(file).read_bytes()


async def test_an_archive_is_put_where_lm_eval_finds_it(tmp_path: Path) -> None:
    there, ports, _, harness = world(tmp_path)
    await benchmarked(there, ports, LAW | {"file": there.upload(b"PK", "law.zip")})
    data = harness.plans[0].tasks[0].data
    assert data == str(tmp_path / "0.zip")
    assert content(data) == b"PK"


async def test_a_text_that_the_engine_refuses_counts_as_wrong_and_is_counted(tmp_path: Path) -> None:
    there, ports, _, harness = world(tmp_path, [Asked(id=0, task="law", context="too long")])
    group, one = (await benchmarked(there, ports, LAW)).tasks
    assert harness.answers == [Answered(id=0, text="")]
    assert (group.unscored, one.unscored) == ({"prompt_too_long": 1}, {})
    assert group.messages == {"prompt_too_long": "it is too long"}


async def test_what_lm_eval_cannot_do_ends_the_job_with_its_code(tmp_path: Path) -> None:
    there, ports, _, _ = world(tmp_path, ends=BenchmarkFailed("no such task", code="task_unknown"))
    with pytest.raises(BenchmarkFailed) as failed:
        await benchmarked(there, ports, LAW)
    assert failed.value.reason == "task_unknown"


def test_figures_that_are_no_numbers_are_left_out() -> None:
    found = metrics({"alias": "x", "acc,none": float("nan"), "f1,none": 1, "f1_stderr,none": float("nan"), "n": 3})
    assert found == {"f1": Measured(value=1.0, stderr=None)}


@pytest.mark.parametrize("task", ["../x", "a/b", "", "a b", "{{x}}"])
def test_a_name_that_is_no_task_is_refused_at_submission(task: str) -> None:
    with pytest.raises(ValueError, match="task"):
        BenchmarkInput.model_validate({"tasks": [{"type": "lm_eval", "task": task}]})
