"""A training as a TrainJob: what is asked of the cluster fits its CRD, and the nodes are followed to their end."""

import asyncio
import json
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.settings import BlobsSettings, WeightsSettings, environment_names
from infra.training import kubeflow
from infra.training.kubeflow import TrainJobs
from infra.training.settings import KubeflowSettings, TrainingSettings
from infra.training.trainjob import GROUP, PLURAL, trainjob
from schemas.errors import DependencyMissing, DependencyUnavailable, InvalidInput, TrainingBroke, TrainingFailed
from schemas.kinds.training import Hyperparameters
from schemas.kinds.training.plan import Frame, Saved, Stopped, TrainingPlan
from tests.contract.trainjobs import TrainJobCluster, validator, webhook

ROOT = Path(__file__).parents[2]
WITHIN_S = 120
JOB = f"job_{'0' * 32}"


def plan(folder: Path, **changes: Any) -> TrainingPlan:
    how = Hyperparameters().model_dump(exclude={"learning_rate", "batch_size", "alpha"})
    told = {"weights": "w", "revision": None, "method": "sft", "adapter": "lora", "validation": None, "resume": None}
    files = {"train": folder / "train.jsonl", "output": folder / "output", "stop_file": folder / "stop"}
    told |= {name: str(path) for name, path in files.items()}
    return TrainingPlan.model_validate(
        {"name": JOB, "nodes": 2, "learning_rate": 1e-4, "batch_size": 8, "alpha": 32, **told, **how, **changes}
    )


class Nodes:
    """Trains on a cluster whose nodes run a script in the place of torchrun; the script knows its `rank` and `plan`."""

    def __init__(self, folder: Path, cluster: TrainJobCluster) -> None:
        self.folder = folder
        self.cluster = cluster
        self.python = Path(cluster.image["WELIP_TRAINING_PYTHON"])
        settings = TrainingSettings(folder=folder / "shared", processes=3)
        cloud = KubeflowSettings(runtime="torch-distributed", namespace="team", limits={"nvidia.com/gpu": "3"})
        self.trainer = TrainJobs(settings, BlobsSettings(), WeightsSettings(), cloud)

    def run(self, script: str) -> None:
        self.python.write_text(
            f"#!{sys.executable}\nimport json, os, sys, time\nfrom pathlib import Path\n"
            "plan = json.loads(Path(sys.argv[-1]).read_text())\n"
            "rank = int(next(one for one in sys.argv if one.startswith('--node-rank=')).partition('=')[2])\n"
            "def tell(**frame): rank == 0 and print(json.dumps(frame), flush=True)\n"
            f"{textwrap.dedent(script)}"
        )
        self.python.chmod(0o755)

    async def frames(self, **changes: Any) -> list[Frame]:
        async with self.trainer.workspace() as folder, aclosing(self.trainer.run(plan(folder, **changes))) as running:
            async with asyncio.timeout(WITHIN_S):
                return [frame async for frame in running]


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    python = tmp_path / "python"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    image = {"PATH": path, "PYTHONPATH": str(ROOT), "WELIP_TRAINING_PYTHON": str(python)}
    monkeypatch.setattr(kubeflow, "LOOKS_EVERY_S", 0.02)
    monkeypatch.setattr(kubeflow, "ASKS_EVERY_S", 0.1)
    with TrainJobCluster("team", image).running() as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.config(tmp_path)))
        yield Nodes(tmp_path, cluster)


SAVED = 'tell(event="saved", step=3, folder="/x", seconds=1.5)\n'
STOPPED = 'tell(event="stopped", step=4)\n'
MEET = """
met = Path(plan["output"]) / "met"
met.mkdir(exist_ok=True)
(met / str(rank)).write_text(" ".join(sys.argv[1:-1]))
while len(list(met.iterdir())) < 2: time.sleep(0.01)
"""


async def test_the_nodes_of_a_trainjob_train_a_plan_together_and_it_is_deleted(nodes: Nodes) -> None:
    nodes.run(f'{MEET}\nprint("Loading weights", flush=True)\n{SAVED}{STOPPED}')
    async with nodes.trainer.workspace() as folder, aclosing(nodes.trainer.run(plan(folder))) as running:
        async with asyncio.timeout(WITHIN_S):
            assert await anext(running) == Saved(step=3, folder="/x", seconds=1.5)
            [[name, made]] = nodes.cluster.objects.items()
            assert [frame async for frame in running] == [Stopped(step=4)]
        said = [(folder / "output" / "met" / str(rank)).read_text() for rank in (0, 1)]
    assert (nodes.cluster.objects, nodes.cluster.deleted) == ({}, [name])
    assert [f"--nnodes=2 --node-rank={rank} --master-addr=127.0.0.1" in said[rank] for rank in (0, 1)] == [True, True]
    assert all("--nproc-per-node=3" in one for one in said)
    trainer = made["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["resourcesPerNode"]) == (2, {"limits": {"nvidia.com/gpu": "3"}})
    assert len(name) <= 45


async def test_a_worker_that_stops_is_heard_by_the_nodes(nodes: Nodes) -> None:
    nodes.run(f'{SAVED}\nwhile not os.path.exists(plan["stop_file"]): time.sleep(0.01)\n{STOPPED}')
    async with nodes.trainer.workspace() as folder, aclosing(nodes.trainer.run(plan(folder))) as running:
        async with asyncio.timeout(WITHIN_S):
            assert isinstance(await anext(running), Saved)
            nodes.trainer.stop()
            assert [frame async for frame in running] == [Stopped(step=4)]


async def test_closing_the_run_ends_its_nodes_and_so_does_the_next_worker_of_a_job_whose_worker_was_killed(
    nodes: Nodes,
) -> None:
    nodes.run(f"{SAVED}\ntime.sleep(600)")
    async with nodes.trainer.workspace() as folder, aclosing(nodes.trainer.run(plan(folder))) as running:
        async with asyncio.timeout(WITHIN_S):
            assert isinstance(await anext(running), Saved)
        assert len(nodes.cluster.objects) == 1
    assert nodes.cluster.objects == {}
    left = trainjob("left", "0" * 32, Path("/nowhere"), 1, TrainingSettings(), KubeflowSettings(runtime="r"))
    other = trainjob("other", "1" * 32, Path("/nowhere"), 1, TrainingSettings(), KubeflowSettings(runtime="r"))
    for one in (left, other):
        nodes.cluster.create(one, {"fieldValidation": ["Strict"]})
    nodes.run(STOPPED)
    assert await nodes.frames() == [Stopped(step=4)]
    assert list(nodes.cluster.objects) == ["other"]


async def test_nodes_that_end_without_a_word_break_the_try(nodes: Nodes) -> None:
    nodes.run(f"{SAVED}\nsys.exit(3)")
    with pytest.raises(TrainingBroke, match="JobsFailed") as broke:
        await nodes.frames()
    assert broke.value.retryable


async def test_a_training_goes_on_while_the_cluster_does_not_answer_and_its_nodes_leave_with_the_worker(
    nodes: Nodes,
) -> None:
    seen = 'while not os.path.exists(plan["output"] + "/seen"): time.sleep(0.01)'
    nodes.run(f'{SAVED}\n{seen}\ntell(event="saved", step=4, folder="/x", seconds=2)\ntime.sleep(600)')
    async with nodes.trainer.workspace() as folder, aclosing(nodes.trainer.run(plan(folder))) as running:
        async with asyncio.timeout(WITHIN_S):
            assert isinstance(await anext(running), Saved)
            nodes.cluster.away = True
            more = asyncio.ensure_future(anext(running))
            while not nodes.cluster.refused:
                await asyncio.sleep(0.01)
            (folder / "output" / "seen").touch()
            assert isinstance(await more, Saved)
    [left] = nodes.cluster.nodes.values()
    async with asyncio.timeout(WITHIN_S):
        while None in [one.poll() for one in left]:
            await asyncio.sleep(0.01)
    with pytest.raises(DependencyUnavailable):
        await nodes.frames()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"namespace": "elsewhere"}, "role of infra/deploy/kubeflow.yaml"),
        ({"namespace": "team", "image": "x" * 500, "limits": {"cpu": "1e"}}, "limits.cpu"),
    ],
)
async def test_what_the_cluster_refuses_is_told_with_its_reason(
    nodes: Nodes, settings: dict[str, Any], said: str
) -> None:
    cloud = KubeflowSettings.model_construct(
        runtime="r", claim="c", nodes=2, **{"image": "i", "limits": {}, **settings}
    )
    trainer = TrainJobs(TrainingSettings(folder=nodes.folder / "shared"), BlobsSettings(), WeightsSettings(), cloud)
    async with trainer.workspace() as folder, aclosing(trainer.run(plan(folder))) as running:
        with pytest.raises(TrainingFailed, match=said) as failed:
            await anext(running)
    assert failed.value.reason == "trainjob_refused"


async def test_a_worker_that_knows_no_cluster_says_what_is_missing(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(nodes.folder / "nowhere"))
    with pytest.raises(DependencyMissing, match="service account"):
        await nodes.frames()


def test_more_nodes_than_there_are_is_refused_with_the_remedy(nodes: Nodes) -> None:
    nodes.trainer.check(8)
    with pytest.raises(InvalidInput, match="WELIP_KUBEFLOW_NODES") as refused:
        nodes.trainer.check(9)
    assert (refused.value.reason, refused.value.field) == ("nodes_unavailable", "input.nodes")


def test_the_schema_of_the_trainer_knows_what_is_asked_and_nothing_else() -> None:
    settings = KubeflowSettings(runtime="r", limits={"nvidia.com/gpu": "8", "memory": "1.5Ti", "cpu": "500m"})
    made = trainjob("a", "b", Path("/c"), 64, TrainingSettings(processes=8), settings)
    valid = validator()
    assert valid.is_valid(made)
    assert list(webhook(made)) == []
    assert len(list(webhook({**made, "metadata": {"name": "1"}}))) == 1
    for changed in ({"nodes": 2}, {"numNodes": "two"}, {"command": "sh"}):
        assert not valid.is_valid({**made, "spec": {**made["spec"], "trainer": {**made["spec"]["trainer"], **changed}}})
    assert not valid.is_valid({**made, "spec": {**made["spec"], "podTemplateOverrides": []}})
    assert not valid.is_valid({**made, "spec": {"trainer": made["spec"]["trainer"], "runtimeRef": {}}})


def test_the_deployment_file_lets_a_worker_do_what_it_does_and_has_settings_that_exist() -> None:
    objects = {one["kind"]: one for one in yaml.safe_load_all((ROOT / "infra/deploy/kubeflow.yaml").read_text())}
    [rule] = objects["Role"]["rules"]
    assert (rule["apiGroups"], rule["resources"]) == ([GROUP], [PLURAL])
    assert set(rule["verbs"]) == {"create", "get", "delete", "deletecollection"}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    [container] = pod["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env.keys() <= environment_names()
    cloud = {name.removeprefix("WELIP_KUBEFLOW_").lower(): value for name, value in env.items() if "KUBEFLOW" in name}
    settings = KubeflowSettings(**{**cloud, "limits": json.loads(cloud["limits"])})
    assert settings.limits == {"nvidia.com/gpu": env["WELIP_TRAINING_PROCESSES"]}
    [volume] = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == settings.claim
    assert container["volumeMounts"][0]["mountPath"] == env["WELIP_TRAINING_FOLDER"]
    assert env["WELIP_WEIGHTS_CACHE"].startswith(f"{env['WELIP_TRAINING_FOLDER']}/")
    assert int(env["WELIP_WORKER_DRAIN"]) < pod["terminationGracePeriodSeconds"]
