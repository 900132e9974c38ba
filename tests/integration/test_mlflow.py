"""A real MLflow is told everything once, in order, whatever dies or is away meanwhile."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import uuid_utils.compat as uuids

from infra.blobs.folder import FolderBlobs
from infra.files import PublishedFiles
from infra.local.mlflow import MlflowServer
from infra.mlflow import Mlflow
from infra.postgres.queries import adapters, aliases, files, refusals, registry, tracking
from infra.postgres.queries.adapters import NewVersion
from infra.postgres.tracking import JobTracker, PostgresTrackers
from infra.settings import MlflowSettings
from producers.tracking import TrackingSender
from schemas.errors import DependencyUnavailable
from schemas.ids import shown
from schemas.lifecycle import JobState
from schemas.lineage import Lineage, SourceFile
from schemas.tracking import MAIN, NewRun
from tests.integration.jobs import Jobs
from tests.servers import mlflow_server

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    yield from mlflow_server(tmp_path_factory.mktemp("mlflow"))


class Desk:
    """Jobs that track, a sender to run, and what MLflow then shows. Each desk has an experiment of its own."""

    def __init__(self, jobs: Jobs, blobs: FolderBlobs, server: MlflowServer) -> None:
        self.jobs = jobs
        self.blobs = blobs
        self.server = server
        self.experiment = f"e-{uuids.uuid7().hex}"
        self.settings = MlflowSettings(uri=server.url)
        self.made: list[Mlflow] = []

    def sender(self, client: Callable[[str, MlflowSettings], Mlflow] = Mlflow) -> TrackingSender:
        self.made.append(client(self.server.url, self.settings))
        return TrackingSender(self.jobs.database, self.blobs, self.made[-1])

    async def send(self) -> None:
        sender = self.sender()
        while await sender.round():
            pass

    async def close(self) -> None:
        for client in self.made:
            await client.close()

    async def job(self, steps: int = 3) -> tuple[UUID, int]:
        """A running job with a run of its own, one nested in it, metrics of some steps, and a file."""
        job_id, epoch = await self.jobs.running()
        said = self.tracker(job_id, epoch)
        await said.begin(
            NewRun(MAIN, self.experiment, "main", tags={"k": "v"}, params={"top_k": "5", "long": "x" * 9_000})
        )
        await said.begin(NewRun("one", self.experiment, "한 변형", MAIN))
        for step in range(steps):
            await said.log("one", {"loss": 1 / (step + 1), "recall@5": 0.5}, step=step)
        await said.attach(MAIN, "report.html", await self.publish(job_id, epoch, b"<html>"))
        return job_id, epoch

    def tracker(self, job_id: UUID, epoch: int) -> JobTracker:
        return PostgresTrackers(self.jobs.database, "w", 1_000).of(job_id, epoch)

    async def publish(self, job_id: UUID, epoch: int, data: bytes) -> str:
        async def whole() -> AsyncIterator[bytes]:
            yield data

        files = PublishedFiles(self.jobs.database, self.blobs, "w").of("default", job_id, epoch)
        return await files.publish(whole(), "report.html", "evaluation")

    async def end(self, job_id: UUID, epoch: int, state: JobState = JobState.SUCCEEDED) -> None:
        how = {"error": "{}", "code": "x"} if state is JobState.FAILED else {}
        await self.jobs.finish(job_id, epoch, state, **how)

    def get(self, call: str, **query: str) -> Any:
        answer = httpx.get(f"{self.server.url}/api/2.0/mlflow/{call}", params=query, timeout=60)
        return answer.raise_for_status().json()

    def artifact(self, run: str, path: str) -> Any:
        """A file of a run, read as JSON."""
        found = httpx.get(f"{self.server.url}/get-artifact", params={"run_id": run, "path": path}, timeout=60)
        return found.raise_for_status().json()

    def runs(self) -> dict[str, Any]:
        """MLflow's runs of the experiment by name, each as little as identifies what it was told."""
        found = self._runs()
        names = [run["info"]["run_name"] for run in found]
        assert len(set(names)) == len(names), "no run is there twice"
        return {run["info"]["run_name"]: self._shown(run) for run in found}

    def times(self) -> set[tuple[int, int]]:
        """When the runs began and ended, in Unix milliseconds."""
        return {(run["info"]["start_time"], run["info"]["end_time"]) for run in self._runs()}

    def _runs(self) -> list[dict[str, Any]]:
        found = self.get("experiments/get-by-name", experiment_name=f"default/{self.experiment}")["experiment"]
        wanted = {"experiment_ids": [found["experiment_id"]], "max_results": 1000}
        answer = httpx.post(f"{self.server.url}/api/2.0/mlflow/runs/search", json=wanted, timeout=60).json()
        return answer.get("runs", [])

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        id, data = run["info"]["run_id"], run["data"]
        names = {metric["key"] for metric in data.get("metrics", [])}
        tags = {tag["key"]: tag["value"] for tag in data.get("tags", [])}
        return {
            "status": run["info"]["status"],
            "params": {param["key"]: param["value"] for param in data.get("params", [])},
            "tags": {name: value for name, value in tags.items() if name in ("k", "welip.tenant")},
            "nested": "mlflow.parentRunId" in tags,
            "metrics": {
                name: [(point["step"], point["value"]) for point in self._history(id, name)] for name in sorted(names)
            },
            "files": [file["path"] for file in self.get("artifacts/list", run_id=id).get("files", [])],
        }

    def _history(self, run: str, name: str) -> list[dict[str, Any]]:
        points = self.get("metrics/get-history", run_id=run, metric_key=name)["metrics"]
        return sorted(points, key=lambda point: (point["step"], point["value"]))

    def delete_an_experiment(self) -> str:
        """The name of an experiment that somebody deleted in MLflow: no run may begin there."""
        name = f"{self.experiment}-deleted"
        url = f"{self.server.url}/api/2.0/mlflow/experiments"
        made = httpx.post(f"{url}/create", json={"name": f"default/{name}"}, timeout=60).raise_for_status().json()
        httpx.post(f"{url}/delete", json=made, timeout=60).raise_for_status()
        return name

    def restore_an_experiment(self, name: str) -> None:
        """Undo its deletion."""
        found = self.get("experiments/get-by-name", experiment_name=f"default/{name}")["experiment"]
        url = f"{self.server.url}/api/2.0/mlflow/experiments/restore"
        httpx.post(url, json={"experiment_id": found["experiment_id"]}, timeout=60).raise_for_status()

    async def depth(self) -> dict[str, int]:
        async with self.jobs.database.connection() as connection:
            return await tracking.depth(connection)


@pytest.fixture
async def desk(jobs: Jobs, tmp_path: Path, server: MlflowServer) -> AsyncIterator[Desk]:
    made = Desk(jobs, FolderBlobs(tmp_path), server)
    yield made
    await made.close()


def whole(steps: int = 3) -> dict[str, Any]:
    """What MLflow shows of `desk.job(steps)` when the job has succeeded."""
    plain = {"status": "FINISHED", "tags": {"welip.tenant": "default"}, "params": {}, "metrics": {}, "files": []}
    losses = [(step, pytest.approx(1 / (step + 1))) for step in range(steps)]
    return {
        "main": plain
        | {
            "params": {"top_k": "5", "long": "x" * 6_000},
            "tags": {"k": "v", "welip.tenant": "default"},
            "nested": False,
            "files": ["report.html"],
        },
        "한 변형": plain
        | {"nested": True, "metrics": {"loss": losses, "recall_at_5": [(step, 0.5) for step in range(steps)]}},
    }


async def test_a_jobs_runs_are_shown_with_all_they_were_told(desk: Desk) -> None:
    job_id, epoch = await desk.job()
    await desk.send()
    assert {run["status"] for run in desk.runs().values()} == {"RUNNING"}
    await desk.end(job_id, epoch)
    await desk.send()
    assert desk.runs() == whole()
    assert await desk.depth() == {"waiting": 0, "refused": 0}
    assert await desk.jobs.fetch("SELECT 1 FROM tracked_entry") == []


@pytest.mark.parametrize(("state", "status"), [(JobState.FAILED, "FAILED"), (JobState.CANCELLED, "KILLED")])
async def test_a_run_ends_as_its_job_does(desk: Desk, state: JobState, status: str) -> None:
    job_id, epoch = await desk.job(steps=1)
    await desk.end(job_id, epoch, state)
    await desk.send()
    assert {run["status"] for run in desk.runs().values()} == {status}


async def test_runs_last_as_long_as_their_job_although_its_figures_come_at_its_end(desk: Desk) -> None:
    job_id, epoch = await desk.job(steps=1)
    await desk.jobs.fetch("UPDATE job SET started_at = now() - interval '1 hour' WHERE id = $1", job_id)
    await desk.end(job_id, epoch)
    await desk.send()
    [row] = await desk.jobs.fetch("SELECT started_at, finished_at FROM job WHERE id = $1", job_id)
    assert desk.times() == {tuple(round(at.timestamp() * 1000) for at in row)}


class Dead(Exception):
    """A process is killed."""


def dying(after: int) -> Callable[[str, MlflowSettings], Mlflow]:
    """A client whose process dies when MLflow has answered so many requests and one more, before it notes the last."""

    def made(uri: str, settings: MlflowSettings) -> Mlflow:
        client = Mlflow(uri, settings)
        send, left = client._client.send, after

        async def sent(*given: Any, **options: Any) -> httpx.Response:
            nonlocal left
            left -= 1
            answer = await send(*given, **options)
            if left < 0:
                raise Dead
            return answer

        client._client.send = sent  # type: ignore[method-assign]
        return client

    return made


async def test_a_sender_that_dies_at_any_request_leaves_nothing_out_and_nothing_twice(desk: Desk) -> None:
    requests = 0
    while True:
        desk.experiment = f"e-{uuids.uuid7().hex}"
        await desk.end(*await desk.job(steps=1))
        try:
            while await desk.sender(dying(requests)).round():
                pass
            break
        except Dead:
            await desk.send()
            assert desk.runs() == whole(steps=1), f"a sender died after request {requests + 1}"
            requests += 1
    assert requests > 10


async def test_while_mlflow_is_away_everything_waits_and_then_comes_in_order(desk: Desk, server: MlflowServer) -> None:
    job_id, epoch = await desk.job(steps=1)
    await desk.send()
    server.kill()
    try:
        said = desk.tracker(job_id, epoch)
        for step in (1, 2):
            await said.log("one", {"loss": 1 / (step + 1), "recall@5": 0.5}, step=step)
        await desk.end(job_id, epoch)
        for _ in range(2):
            with pytest.raises(DependencyUnavailable, match="MLflow does not answer"):
                await desk.sender().round()
        assert (await desk.depth())["waiting"] == 2
    finally:
        server.start()
    await desk.send()
    assert desk.runs() == whole()


async def test_what_mlflow_refuses_is_kept_to_be_seen_and_holds_up_nothing_else(desk: Desk) -> None:
    job_id, epoch = await desk.job(steps=1)
    said = desk.tracker(job_id, epoch)
    await said.attach(MAIN, "gone.html", f"file_{'0' * 32}")
    await said.log("one", {"": 1.0}, step=8)
    await said.log("one", {"after": 1.0}, step=9)
    await said.begin(NewRun("late", desk.delete_an_experiment(), "late"))
    await desk.end(job_id, epoch)
    await desk.send()
    assert await desk.depth() == {"waiting": 0, "refused": 3}
    shown = desk.runs()
    assert shown["한 변형"]["metrics"]["after"] == [(9, 1.0)]
    assert shown["main"]["files"] == ["report.html"]
    assert {run["status"] for run in shown.values()} == {"FINISHED"}
    reasons = await desk.jobs.fetch(
        "SELECT error FROM tracked_entry UNION ALL SELECT error FROM tracked_run WHERE error > ''"
    )
    assert all(len(row["error"]) > 20 for row in reasons)


async def test_what_was_refused_is_sent_again_once_its_cause_is_gone(desk: Desk) -> None:
    job_id, epoch = await desk.job(steps=1)
    deleted = desk.delete_an_experiment()
    await desk.tracker(job_id, epoch).begin(NewRun("late", deleted, "late"))
    await desk.tracker(job_id, epoch).log("late", {"f1": 0.5})
    await desk.end(job_id, epoch)
    await desk.send()
    assert (await desk.depth())["refused"] == 2
    desk.restore_an_experiment(deleted)
    async with desk.jobs.database.connection() as connection:
        assert await refusals.retry(connection, [job_id]) == {job_id}
    await desk.send()
    assert await desk.depth() == {"waiting": 0, "refused": 0}
    desk.experiment = deleted
    late = desk.runs()["late"]
    assert (late["status"], late["metrics"]) == ("FINISHED", {"f1": [(0, 0.5)]})


async def test_two_senders_that_begin_the_same_run_leave_one(desk: Desk) -> None:
    await desk.end(*await desk.job(steps=1))
    async with desk.jobs.database.connection() as connection:
        [main, one] = await tracking.due(connection, 10)

    async def nothing(*_: Any) -> None:
        """Each looked before the other began the run."""

    both = [desk.sender(), desk.sender()]
    for client in desk.made:
        client.find = nothing  # type: ignore[method-assign, assignment]
    first, second = [await sender._begun(main) for sender in both]
    assert first == second
    await desk.send()
    assert json.dumps(sorted(desk.runs()), ensure_ascii=False) == '["main", "한 변형"]'
    assert one.parent == main.id


def lineage(job_id: UUID) -> Lineage:
    source = SourceFile(file=f"file_{'3' * 32}", filename="rows.jsonl", bytes=9, sha256="feed")
    return Lineage(
        job=shown("job", job_id), base="small", weights="org/small", revision="abc", code="0.1.0", method="sft",
        adapter="lora", dataset=source, validation=None, rows=58, held_out=6, tokens=4_920, archive=f"file_{'4' * 32}",
        parameters={"rank": 2, "max_steps": None}, metrics={"validation_loss": 1.4}, trained_at="2026-11-30T00:00:00",
    )  # fmt: skip


class Trained:
    """Versions of an adapter that trainings made, and aliases that point to them."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.name = f"a-{uuids.uuid7().hex}"
        self.model = f"default~small~{self.name}"

    async def version(self) -> UUID:
        """One more version, whose training has ended; its job."""
        desk = self.desk
        job_id, epoch = await desk.jobs.running()
        run = await desk.tracker(job_id, epoch).begin(NewRun(MAIN, desk.experiment, f"training {job_id}"))
        blob = f"default/adapters/{uuids.uuid7().hex}"
        await desk.blobs.put(blob, b"weights")
        async with desk.jobs.database.unit_of_work() as connection:
            await files.expect(connection, blob)
            made = await adapters.add(
                connection,
                NewVersion(
                    id=uuids.uuid7(), tenant="default", base="small", name=self.name, config="{}", rank=2, blob=blob,
                    bytes=7, sha256="cafe", weights_sha256="beef", lineage=lineage(job_id).model_dump_json(), run=run,
                ),
            )  # fmt: skip
        assert made is not None
        await desk.end(job_id, epoch)
        return job_id

    async def points(self, alias: str, version: int | None) -> None:
        """Let an alias point to a version, or to the base."""
        to = "small" if version is None else f"small:{self.name}@{version}"
        async with self.desk.jobs.database.unit_of_work() as connection:
            if await aliases.make(connection, "default", alias, to) is None:
                await aliases.point(connection, "default", alias, to)

    def shown(self) -> dict[str, str]:
        """What aliases point to in MLflow."""
        found = self.desk.get("registered-models/get", name=self.model)["registered_model"]
        return {one["alias"]: one["version"] for one in found.get("aliases", [])}


async def test_a_trained_adapter_is_a_version_of_a_model_with_its_lineage_signature_and_weights(desk: Desk) -> None:
    trained = Trained(desk)
    job_id = await trained.version()
    await desk.send()
    found = desk.get("model-versions/get", name=trained.model, version="1")["model_version"]
    tags = {tag["key"]: tag["value"] for tag in found["tags"]}
    for name, value in {
        "welip.model": f"small:{trained.name}@1",
        "welip.job": shown("job", job_id),
        "welip.dataset.sha256": "feed",
        "welip.base.revision": "abc",
        "welip.code": "0.1.0",
        "welip.param.rank": "2",
    }.items():
        assert tags[name] == value
    run = desk.get("runs/get", run_id=found["run_id"])["run"]
    assert run["info"]["run_name"] == f"training {job_id}"
    assert found["source"] == f"{run['info']['artifact_uri']}/model"
    listed = desk.get("artifacts/list", run_id=found["run_id"], path="model")["files"]
    assert {file["path"].removeprefix("model/"): int(file["file_size"]) for file in listed}.items() >= {
        "adapter_model.safetensors": 7,
        "adapter_config.json": 2,
    }.items()
    about = desk.artifact(found["run_id"], "model/MLmodel")
    assert json.loads(about["signature"]["inputs"])[0]["name"] == "messages"
    assert about["metadata"]["dataset"]["sha256"] == "feed"
    await trained.version()
    await desk.send()
    assert desk.get("model-versions/get", name=trained.model, version="2")["model_version"]["version"] == "2"


async def test_aliases_of_trained_adapters_are_mirrored_as_they_move(desk: Desk) -> None:
    trained = Trained(desk)
    for _ in range(2):
        await trained.version()
    await trained.points("support", 1)
    await trained.points("other.name", 1)  # MLflow takes no such alias
    await desk.send()
    assert trained.shown() == {"support": "1"}
    await trained.points("support", 2)
    await desk.send()
    assert trained.shown() == {"support": "2"}
    await trained.points("support", None)
    await desk.send()
    assert trained.shown() == {}
    await trained.points("support", 2)
    await desk.send()
    async with desk.jobs.database.connection() as connection:
        await aliases.remove(connection, "default", "support")
    await desk.send()
    assert trained.shown() == {}
    async with desk.jobs.database.connection() as connection:
        assert not await registry.anything(connection), "what was refused is not tried for ever"


async def test_a_sender_that_dies_makes_no_version_twice(desk: Desk) -> None:
    trained, requests = Trained(desk), 0
    await trained.version()
    await trained.points("support", 1)
    while True:
        try:
            while await desk.sender(dying(requests)).round():
                pass
            break
        except Dead:
            requests += 1
    assert requests > 5
    found = desk.get("registered-models/get", name=trained.model)["registered_model"]
    assert [one["version"] for one in found["latest_versions"]] == ["1"]
    assert trained.shown() == {"support": "1"}


async def test_an_answer_that_is_not_mlflows_own_is_no_refusal(desk: Desk) -> None:
    client = Mlflow(f"{desk.server.url}/nowhere", desk.settings)
    with pytest.raises(DependencyUnavailable, match="MLflow answers 404"):
        await client.experiment("x")
    await client.close()
