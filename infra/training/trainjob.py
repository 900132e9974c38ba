"""The TrainJob in which nodes of a Kubernetes cluster train a plan together.

Its form is that of `trainer.kubeflow.org/v1alpha1` (https://www.kubeflow.org/docs/components/trainer, 2.2 or later).
"""

from pathlib import Path
from typing import Any, Final

from infra.training import join
from infra.training.settings import KubeflowSettings, TrainingSettings

GROUP: Final = "trainer.kubeflow.org"
VERSION: Final = "v1alpha1"
PLURAL: Final = "trainjobs"
OF_JOB: Final = "welip.internal/job"
"""The label with the id of the job that a TrainJob trains for."""
MANAGER: Final = "welip.internal/worker"
"""Whose patch it is: a path behind a domain."""

STARTS: Final = (
    'export WELIP_TRAINING_MACHINE="$PET_NODE_RANK" WELIP_TRAINING_MAIN="$PET_MASTER_ADDR"'
    f' WELIP_TRAINING_MAIN_PORT="$PET_MASTER_PORT"; exec python -m {join.__name__} "$0"'
)
"""What a node runs: the runtime tells it its number and where node 0 is."""


def trainjob(
    name: str, job: str, plan: Path, nodes: int, training: TrainingSettings, kubeflow: KubeflowSettings
) -> dict[str, Any]:
    """The object to be made. `plan`: a file below the folder of `training`, which lies on the volume of the claim.

    It holds no secret: the nodes need neither Postgres nor Kafka nor object storage, only that volume.
    """
    env = {
        "WELIP_TRAINING_FOLDER": str(training.folder.absolute()),
        "WELIP_TRAINING_MACHINES": str(nodes),
        "WELIP_TRAINING_PROCESSES": str(training.processes),
        "WELIP_TRAINING_PARALLEL": training.parallel,
        "WELIP_TRAINING_ZERO_STAGE": training.zero_stage,
    }
    trainer: dict[str, Any] = {
        "image": kubeflow.image,
        "numNodes": nodes,
        "command": ["sh", "-c", STARTS, str(plan)],
        "env": [{"name": key, "value": value} for key, value in env.items()],
    }
    if kubeflow.limits:
        trainer["resourcesPerNode"] = {"limits": kubeflow.limits}
    mount = {"name": "training", "mountPath": env["WELIP_TRAINING_FOLDER"]}
    pod = {
        "volumes": [{"name": "training", "persistentVolumeClaim": {"claimName": kubeflow.claim}}],
        "containers": [{"name": "node", "volumeMounts": [mount]}],
    }
    patch = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "welip", OF_JOB: job}},
        "spec": {
            "runtimeRef": {"name": kubeflow.runtime},
            "trainer": trainer,
            "runtimePatches": [
                {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [patch]}}}}
            ],
        },
    }
