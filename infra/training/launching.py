"""How the processes of one training are started: one, several on a machine, or several machines.

Each is started by the libraries' own launchers. torchrun starts data-parallel processes, on processors, too. Where the
model itself is divided, `accelerate launch` gets a configuration file, whose form is accelerate's:
https://huggingface.co/docs/accelerate/package_reference/cli#accelerate-config.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, Final

from infra.local import training
from infra.training.settings import TrainingSettings

RUNNER: Final = "infra.training.runner"


def interpreter(settings: TrainingSettings) -> str | None:
    """The Python that trains: the one named, else this one if it has TRL, else that of the environment; None: none."""
    if settings.python is not None:
        return str(settings.python)
    if importlib.util.find_spec("trl") is not None:
        return sys.executable
    made = training.installed()
    return None if made is None else str(made)


def command(python: str, settings: TrainingSettings, plan: Path) -> list[str]:
    """What this machine starts for a plan; a configuration file is written beside the plan if one is needed."""
    run = ["-m", RUNNER, str(plan)]
    if settings.parallel != "ddp":
        file = plan.with_name(f"accelerate-{settings.machine}.json")
        file.write_text(json.dumps(configuration(settings), indent=2), encoding="utf-8")
        return [python, "-m", "accelerate.commands.launch", "--config_file", str(file), *run]
    if settings.machines > 1:
        where = [f"--nnodes={settings.machines}", f"--node-rank={settings.machine}"]
        where += [f"--master-addr={settings.main}", f"--master-port={settings.main_port}"]
    elif settings.processes > 1:
        where = ["--standalone"]
    else:
        return [python, *run]
    return [python, "-m", "torch.distributed.run", *where, f"--nproc-per-node={settings.processes}", *run]


def configuration(settings: TrainingSettings) -> dict[str, Any]:
    """A file for `accelerate launch`. Precision is left to the trainer, which knows the device."""
    told: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": settings.parallel.upper(),
        "num_machines": settings.machines,
        "num_processes": settings.machines * settings.processes,
        "machine_rank": settings.machine,
        "main_training_function": "main",
        "mixed_precision": "no",
        "use_cpu": False,
        "rdzv_backend": "static",
    }
    if settings.machines > 1:
        told["main_process_ip"], told["main_process_port"] = settings.main, settings.main_port
    else:
        told["main_process_port"] = 0  # any that is free
    if settings.parallel == "fsdp":
        told["fsdp_config"] = FSDP
    else:
        told["deepspeed_config"] = {**DEEPSPEED, "zero_stage": int(settings.zero_stage)}
    return told


FSDP: Final = {
    "fsdp_version": 2,
    "fsdp_reshard_after_forward": True,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_offload_params": False,
    "fsdp_state_dict_type": "FULL_STATE_DICT",
    "fsdp_activation_checkpointing": False,
}
"""Layers are divided among the devices. The whole weights are gathered for checkpoints and for the result."""

DEEPSPEED: Final = {
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": 1.0,
    "offload_optimizer_device": "none",
    "offload_param_device": "none",
    "zero3_init_flag": False,
    "zero3_save_16bit_model": True,
}
