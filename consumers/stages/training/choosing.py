"""The plan of a run: the request, with what `auto` means where the method and the data decide it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from consumers.stages.training.trainable import Base
from schemas.kinds.training import DataReport, Method, TrainingInput
from schemas.kinds.training.plan import TrainingPlan

LEARNING_RATES: Final[Mapping[Method, tuple[float, float]]] = {
    "sft": (2e-4, 2e-5),
    "dpo": (1e-5, 1e-6),
    "orpo": (5e-5, 8e-6),
    "kto": (1e-5, 1e-6),
}
"""Of adapters, and of all weights. TRL's own defaults for all weights; ten times that for adapters (LoRA Without
Regret, https://thinkingmachines.ai/blog/lora/), where few steps move few weights.
"""
LARGEST_BATCH: Final = 16
STEPS_AN_EPOCH: Final = 8
"""A small dataset gets a smaller batch, so that an epoch has so many steps at least."""


def plan_of(
    request: TrainingInput,
    base: Base,
    data: DataReport,
    *,
    folder: Path,
    validation: bool,
    resume: Path | None,
    tokenised: Path | None,
    device_batch_size: int | None = None,
) -> TrainingPlan:
    """What the process is told; its files lie in `folder`. `device_batch_size` replaces the request's."""
    how = request.hyperparameters
    adapters, weights = LEARNING_RATES[request.method]
    return TrainingPlan(
        nodes=request.nodes,
        weights=str(Path(base.weights).expanduser().absolute()) if base.in_folder else base.weights,
        revision=base.revision,
        method=request.method,
        adapter=request.adapter,
        train=str(folder / "train.jsonl"),
        validation=str(folder / "validation.jsonl") if validation else None,
        output=str(folder / "output"),
        resume=None if resume is None else str(resume),
        tokenised=None if tokenised is None else str(tokenised),
        stop_file=str(folder / "stop"),
        epochs=how.epochs,
        max_steps=how.max_steps,
        learning_rate=(weights if request.adapter == "full" else adapters)
        if how.learning_rate == "auto"
        else how.learning_rate,
        scheduler=how.scheduler,
        warmup_share=how.warmup_share,
        weight_decay=how.weight_decay,
        batch_size=batch_size(data.rows, request.method) if how.batch_size == "auto" else how.batch_size,
        device_batch_size=device_batch_size or how.device_batch_size,
        max_length=how.max_length,
        rank=how.rank,
        alpha=2 * how.rank if how.alpha == "auto" else how.alpha,
        dropout=how.dropout,
        beta=how.beta,
        completion_only=how.completion_only,
        packing=how.packing,
        gradient_checkpointing=how.gradient_checkpointing,
        evaluate_every=how.evaluate_every,
        early_stopping=how.early_stopping,
        checkpoint_every_steps=how.checkpoint_every_steps,
        checkpoint_every_s=how.checkpoint_every_s,
        seed=how.seed,
        export=request.export,
    )


def batch_size(rows: int, method: Method) -> int:
    """A power of two. KTO estimates from neighbours in a batch, so there are some."""
    size = 4 if method == "kto" else 1
    while 2 * size <= min(LARGEST_BATCH, rows // STEPS_AN_EPOCH):
        size *= 2
    return size
