"""How the processes of a training are started: one, several, several machines, or a model that is divided."""

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from infra.settings import BlobsSettings, WeightsSettings
from infra.training import join
from infra.training.launching import command
from infra.training.process import TrainingProcess
from infra.training.settings import TrainingSettings
from schemas.errors import InvalidInput


def started(folder: Path, **settings: Any) -> list[str]:
    return command("python", TrainingSettings(**settings), folder / "plan.json")


def test_one_process_is_started_without_a_launcher(tmp_path: Path) -> None:
    assert started(tmp_path) == ["python", "-m", "infra.training.runner", str(tmp_path / "plan.json")]


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"processes": 4}, ["--standalone", "--nproc-per-node=4"]),
        (
            {"processes": 8, "machines": 2, "machine": 1, "main": "10.0.0.1"},
            ["--nnodes=2", "--node-rank=1", "--master-addr=10.0.0.1", "--master-port=29500", "--nproc-per-node=8"],
        ),
    ],
)
def test_data_parallel_processes_are_started_by_torchrun(
    tmp_path: Path, settings: dict[str, Any], given: list[str]
) -> None:
    found = started(tmp_path, **settings)
    assert found[:3] == ["python", "-m", "torch.distributed.run"]
    assert found[3:-3] == given


@pytest.mark.parametrize(("parallel", "stage"), [("fsdp", 3), ("deepspeed", 2)])
def test_a_divided_model_is_started_by_accelerate_with_its_configuration(
    tmp_path: Path, parallel: str, stage: int
) -> None:
    found = started(tmp_path, parallel=parallel, processes=4, machines=2, main="h", main_port=1, zero_stage=str(stage))
    assert found[:3] == ["python", "-m", "accelerate.commands.launch"]
    told = json.loads(Path(found[4]).read_text())
    assert (told["distributed_type"], told["num_processes"], told["num_machines"]) == (parallel.upper(), 8, 2)
    assert (told["main_process_ip"], told["main_process_port"]) == ("h", 1)
    assert ("fsdp_config" in told, "deepspeed_config" in told) == (parallel == "fsdp", parallel == "deepspeed")
    assert parallel == "fsdp" or told["deepspeed_config"]["zero_stage"] == stage


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"machines": 2}, "need the address of machine 0"),
        ({"machine": 1}, "the machines are 0 to 0"),
    ],
)
def test_machines_that_could_not_meet_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainingSettings(**settings)


async def test_a_machine_joins_the_plans_of_workers_that_live_and_of_no_others(tmp_path: Path) -> None:
    trainer = TrainingProcess(TrainingSettings(folder=tmp_path), BlobsSettings(), WeightsSettings())
    async with trainer.workspace() as folder:
        assert join.plans(tmp_path) == []
        (folder / "output").mkdir()
        plan = folder / "output" / "plan.json"
        plan.write_text("{}")
        assert [file for file, _ in join.plans(tmp_path)] == [plan.resolve()]
    left = tmp_path / "training-of-a-killed-worker"
    (left / "work" / "output").mkdir(parents=True)
    (left / "lock").touch()
    (left / "work" / "output" / "plan.json").write_text("{}")
    assert join.plans(tmp_path) == []


async def test_a_machine_leaves_when_the_worker_whose_plan_it_runs_is_gone(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    settings = TrainingSettings(python=python, folder=tmp_path / "shared")
    left = settings.folder / "training-x"
    (left / "work" / "output").mkdir(parents=True)
    (left / "lock").touch()
    plan = left / "work" / "output" / "plan.json"
    plan.write_text("{}")
    assert join.take_part(settings, plan) == -9


def test_a_node_takes_part_in_a_plan_once_however_often_it_is_started(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 7\n")
    python.chmod(0o755)
    settings = TrainingSettings(python=python, folder=tmp_path / "shared")
    plan = settings.folder / "training-x" / "work" / "output" / "welip-1" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text("{}")
    lock = settings.folder / "training-x" / "lock"
    lock.touch()
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert join.take_part_once(settings, plan) == 7
        assert join.take_part_once(settings, plan) == 1


def test_a_deployment_of_one_machine_refuses_a_training_of_several_with_the_remedy() -> None:
    def process(**settings: Any) -> TrainingProcess:
        return TrainingProcess(TrainingSettings(**settings), BlobsSettings(), WeightsSettings())

    process().check(1)
    process(machines=2, main="h").check(2)
    with pytest.raises(InvalidInput, match="WELIP_KUBEFLOW_RUNTIME") as refused:
        process().check(2)
    assert (refused.value.reason, refused.value.field) == ("nodes_unavailable", "input.nodes")
