"""Whom a training reports to beside WeLIP: Weights & Biases, where the worker has a key."""

import importlib.util
import os

from transformers.utils import logging

from schemas.kinds.training.plan import TrainingPlan

said = logging.get_logger(__name__)


def reporters(plan: TrainingPlan) -> list[str]:
    """Names as transformers knows them. A run that goes on after a kill goes on in Weights & Biases, too."""
    if not os.environ.get("WANDB_API_KEY"):
        return []
    if importlib.util.find_spec("wandb") is None:
        said.warning("WANDB_API_KEY is set, but the environment of training has no wandb: nothing goes there")
        return []
    os.environ |= {"WANDB_RUN_ID": plan.name, "WANDB_NAME": plan.name, "WANDB_RESUME": "allow"}
    os.environ.setdefault("WANDB_PROJECT", "welip")
    return ["wandb"]
