"""Configurations of several devices, as accelerate reads them; `tests/contract/test_training_apart.py` runs this."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("accelerate")

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env

from infra.training.launching import command
from infra.training.settings import TrainingSettings

MACHINES = {"machines": 2, "machine": 1, "main": "10.0.0.1", "main_port": 29511}


def read(folder: Path, **settings: Any) -> Any:
    """What `accelerate launch` makes of the command, up to the start of processes."""
    made = command("python", TrainingSettings(**settings), folder / "plan.json")
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(made[3:]))
    assert arguments.module
    assert arguments.training_script == "infra.training.runner"
    assert arguments.training_script_args == [str(folder / "plan.json")]
    return arguments


@pytest.mark.parametrize("machines", [{}, MACHINES])
def test_accelerate_divides_the_layers_of_a_model_as_we_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machines: dict[str, Any]
) -> None:
    found = read(tmp_path, parallel="fsdp", processes=4, **machines)
    assert found.use_fsdp
    assert not found.use_deepspeed
    told = prepare_multi_gpu_env(found)
    assert found.nproc_per_node == "4"
    if machines:
        assert (found.nnodes, found.node_rank, found.rdzv_endpoint) == ("2", 1, "10.0.0.1:29511")
    for name, value in told.items():
        if name.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.reshard_after_forward is True
    assert plugin.cpu_ram_efficient_loading is True


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_accelerate_reads_the_stage_of_deepspeed(tmp_path: Path, stage: int) -> None:
    found = read(tmp_path, parallel="deepspeed", processes=2, zero_stage=str(stage), **MACHINES)
    assert found.use_deepspeed
    assert (found.zero_stage, found.zero3_save_16bit_model) == (stage, True)
    assert (found.num_machines, found.num_processes, found.machine_rank) == (2, 4, 1)
