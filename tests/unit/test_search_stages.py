"""The stages of `search`: rounds of trials from what Postgres knows of the children, and a report at the end."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from consumers.stages.context import StageJob
from consumers.stages.ports import ChildSummary, Deployment, Evaluation, SeenTrial
from consumers.stages.registry import stage
from schemas.adapters import NewAdapter
from schemas.errors import InvalidInput, NotFound
from schemas.kinds.search import SearchInput, SearchResult
from schemas.kinds.training import DataReport, TrainingMetrics, TrainingResult
from schemas.kinds.training.trial import TrialInput
from schemas.lifecycle import JobState
from schemas.lineage import Lineage
from schemas.outcomes import Done, Fail, FanOut, Next, Outcome
from schemas.topics import Lane
from tests.unit.ports_in_memory import World
from tests.unit.scripted_trainer import CHOSEN, MODELS

SPACE: dict[str, Any] = {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}, "rank": {"choices": [4, 8]}}


class MemoryTrials:
    """The trials of one search."""

    def __init__(self) -> None:
        self.trials: list[SeenTrial] = []

    async def seen(self, search: UUID) -> list[SeenTrial]:
        return self.trials

    async def evaluated(self, trial: UUID, step: int, loss: float) -> list[SeenTrial]:
        raise AssertionError("the search itself measures nothing")


class Registry:
    async def registered(self, tenant: str, new: NewAdapter, lineage: Lineage, run: UUID | None) -> str:
        return f"{new.base}:{new.name}@1 from {new.file} of {lineage.job}, rank {lineage.parameters['rank']}"


class OptunaThere:
    async def ready(self) -> None:
        return None


class Search:
    """A search whose trials end as they are told to."""

    def __init__(self, **changes: Any) -> None:
        self.world = World(models=MODELS)
        dataset = self.world.upload(b"{}", "a.jsonl")
        self.trials = MemoryTrials()
        asked = {"base_model": "small", "dataset": dataset, "space": SPACE, "trials": 6, **changes}
        self.job: StageJob[SearchInput, None] = self.world.job("search", "ask", asked)

    async def run(self, name: str = "ask") -> Outcome:
        ports = self.world.ports
        ports.deployment = Deployment(models=MODELS)
        ports.trials, ports.optimiser, ports.adapter_registry = self.trials, OptunaThere(), Registry()
        return await stage("search", name)(replace(self.job, stage=name), ports)

    async def asked(self) -> FanOut:
        outcome = await self.run()
        assert isinstance(outcome, FanOut), outcome
        return outcome

    def end(self, made: FanOut, *losses: float | str) -> None:
        """The round's trials end: with a loss, or with the code of an error, or as pruned or skipped."""
        self.job = replace(self.job, rounds=self.job.rounds + 1)
        assert not callable(made.children)
        for child, said in zip(made.children, losses, strict=True):  # type: ignore[arg-type]
            given = json.loads(child.input.model_dump_json())
            state, result, error = self._ended(said)
            id = uuid4()
            self.world.children.summaries.append(
                ChildSummary(child.key, "training", self.job.rounds, state, given, result, error, id)
            )
            told = [Evaluation(step, float(2 + at - step), datetime.now(UTC)) for at, step in enumerate((1, 2))]
            self.trials.trials.append(SeenTrial(id, child.key, state, told))

    def _ended(self, said: float | str) -> tuple[JobState, dict[str, Any] | None, dict[str, Any] | None]:
        if said == "pruned":
            return JobState.CANCELLED, {"pruned": True, "evaluation": 2, "step": 2, "validation_loss": 9.0}, None
        if said == "skipped":
            return JobState.CANCELLED, {"skipped": True}, None
        if isinstance(said, str):
            return JobState.FAILED, None, {"code": said, "message": f"why {said}", "retryable": False}
        adapter = self.world.upload(b"weights", f"{said}.zip")
        return JobState.SUCCEEDED, trained(adapter, said), None

    def adapters(self) -> set[str]:
        return {one.filename for one in self.world.files.named.values() if one.filename.endswith(".zip")}


def trained(adapter: str, loss: float | None) -> dict[str, Any]:
    """The result of a training."""
    data = DataReport(rows=9, validation_rows=1, duplicates=0, overlapping=0)
    return TrainingResult(
        adapter=adapter,
        model=None,
        registered=False,
        metrics=TrainingMetrics.model_validate(metrics(loss)),
        data=data,
        settings=CHOSEN,
        metrics_file="file_m",
        resumes=0,
        warnings=[],
    ).model_dump(mode="json")


def metrics(loss: float | None) -> dict[str, Any]:
    figures = {"steps": 4, "epochs": 1.0, "train_loss": 1.0, "validation_loss_before": 3.0, "validation_loss": loss}
    return figures | {"tokens_per_s": 100.0, "seconds": 5.0, "peak_memory_bytes": 1}


def params(child: Any) -> Mapping[str, Any]:
    how = child.input.hyperparameters
    return {"learning_rate": how.learning_rate, "rank": how.rank}


async def test_the_first_round_is_as_large_as_what_runs_at_once() -> None:
    search = Search(at_once=2, hyperparameters={"epochs": 2})
    made = await search.asked()
    assert (made.then, made.lane, made.at_once) == ("ask", Lane.BULK, 2)
    assert [child.key.split(" · ")[0] for child in made.children] == ["0", "1"]  # type: ignore[union-attr]
    first = made.children[0]  # type: ignore[index]
    assert isinstance(first.input, TrialInput)
    assert first.kind == "training"
    assert first.input.hyperparameters.epochs == 2
    trial = first.input.trial
    assert (trial.search, trial.number, trial.pruner) == (search.job.id, 0, "median")
    assert first.input.register_as is None
    assert f"rank={first.input.hyperparameters.rank}" in first.key


async def test_a_search_goes_on_from_its_children_alone() -> None:
    """Whoever asks next, on whatever machine, knows nothing but the rows; and asks for the same when it asks twice."""
    search = Search(at_once=2, trials=14)
    search.end(await search.asked(), 2.0, 1.5)
    second = await search.asked()
    assert [child.input.trial.number for child in second.children] == list(range(2, 10))  # type: ignore[union-attr]
    again = await search.asked()
    assert list(map(params, again.children)) == list(map(params, second.children))  # type: ignore[arg-type]
    search.end(second, 1.2, 1.9, "pruned", "out_of_memory", 1.4, 1.6, 1.7, 1.8)
    third = await search.asked()
    assert [child.input.trial.number for child in third.children] == [10, 11]  # type: ignore[union-attr]
    search.end(third, 1.0, 1.1)
    search.end(await search.asked(), 1.3, 1.35)
    assert await search.run() == Next("report")


async def test_what_needs_no_answers_is_made_at_once_after_the_first_round() -> None:
    search = Search(at_once=2, trials=40, sampler="random")
    search.end(await search.asked(), 1.0, 2.0)
    made = await search.asked()
    assert (len(made.children), made.at_once) == (38, 2)  # type: ignore[arg-type]


async def test_only_the_best_adapter_is_kept() -> None:
    search = Search(at_once=3)
    search.end(await search.asked(), 2.0, 1.0, 3.0)
    made = await search.asked()
    assert search.adapters() == {"1.0.zip"}
    search.end(made, 0.5, "pruned", 1.5)
    assert await search.run() == Next("report")
    assert search.adapters() == {"0.5.zip"}
    done = await search.run("report")
    assert isinstance(done, Done)
    result = SearchResult.model_validate(done.result)
    assert result.best == [3]
    assert [one.state for one in result.trials] == ["complete"] * 4 + ["pruned", "complete"]
    assert [one.number for one in result.trials if one.adapter] == [3]
    assert result.trials[3].adapter in search.world.files.named
    assert (result.trials[4].steps, result.trials[4].values) == (2, None)
    assert set(result.importance) == {"validation_loss"}


async def test_the_best_adapter_is_registered_and_the_report_is_a_page() -> None:
    search = Search(at_once=2, trials=2, register_as="best", language="en")
    search.end(await search.asked(), 2.0, 1.0)
    assert await search.run() == Next("report")
    done = await search.run("report")
    assert isinstance(done, Done)
    result = SearchResult.model_validate(done.result)
    assert result.registered
    best = result.trials[1]
    assert result.model == f"small:best@1 from {best.adapter} of {best.job}, rank {best.params['rank']}"
    html = search.world.blobs.data[search.world.files.named[result.report].blob].decode()
    assert "Hyperparameter search" in html


async def test_a_search_fails_with_its_trials_when_all_of_the_first_round_do() -> None:
    search = Search(at_once=2)
    search.end(await search.asked(), "dataset_invalid", "out_of_memory")
    failed = await search.run()
    assert isinstance(failed, Fail)
    assert failed.error.reason == "trials_failed"
    assert "dataset_invalid: why dataset_invalid; others with out_of_memory" in failed.error.message


async def test_a_search_whose_time_is_over_makes_no_more_trials() -> None:
    search = Search(at_once=2, budget_s=60)
    made = await search.asked()
    until = made.children[0].input.trial.until  # type: ignore[index, union-attr]
    assert until == search.job.started_at + timedelta(seconds=60)
    search.end(made, 1.0, "skipped")
    search.job = replace(search.job, started_at=datetime.now(UTC) - timedelta(seconds=61))
    assert await search.run() == Next("report")
    done = await search.run("report")
    assert isinstance(done, Done)
    assert done.result["best"] == [0]
    assert any("2 of 6" in one for one in done.result["warnings"])


async def test_a_search_without_a_complete_trial_says_so_and_keeps_its_report() -> None:
    search = Search(at_once=2, trials=2)
    search.end(await search.asked(), "skipped", "skipped")
    assert await search.run() == Next("report")
    failed = await search.run("report")
    assert isinstance(failed, Fail)
    assert failed.error.reason == "trials_failed"
    assert failed.result is not None
    assert failed.result["report"] in search.world.files.named


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"base_model": "elsewhere"}, "base_not_trainable", "input.base_model"),
        ({"base_model": "plain", "register_as": "x"}, "adapter_not_servable", "input.register_as"),
        (
            {"base_model": "large", "register_as": "x", "space": {"rank": {"choices": [4, 32]}}},
            "adapter_not_servable",
            "input.hyperparameters.rank",
        ),
        ({"dataset": f"file_{'1' * 32}"}, "file_not_found", "input.dataset"),
    ],
)
async def test_what_would_fail_every_trial_fails_the_search_before_any(
    changes: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises((InvalidInput, NotFound)) as error:
        await Search(**changes).run()
    assert (error.value.reason, error.value.field) == (code, field)


async def test_a_training_that_told_no_value_of_an_objective_is_no_complete_trial() -> None:
    search = Search(at_once=2, trials=2)
    made = await search.asked()
    search.end(made, 1.0, 2.0)
    last = search.world.children.summaries[-1]
    assert last.result is not None
    search.world.children.summaries[-1] = replace(last, result={**last.result, "metrics": metrics(None)})
    done = await search.run("report")
    assert isinstance(done, Done)
    assert (done.result["trials"][1]["state"], done.result["trials"][1]["error"]) == ("failed", "objective_missing")
