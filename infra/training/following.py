"""Follows a trainer step by step: tells its figures, saves checkpoints when they are due, stops it when it must."""

import math
import time
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback

from infra.training.memory import peak_memory
from infra.training.telling import Teller
from schemas.kinds.training.plan import Saved, Stepped, TrainingPlan

PATIENT_BY: Final = 1e-4
"""A loss that is lower by less is not lower."""


class Follower(TrainerCallback):  # type: ignore[misc]
    """`tokens`: of an example, on average. After training `stopped` and `broken_at` say why it ended early, if so."""

    def __init__(self, plan: TrainingPlan, teller: Teller, device: torch.device, tokens: float) -> None:
        self._plan = plan
        self._teller = teller
        self._device = device
        self._tokens = tokens
        self._began_at = 0
        self._began = self._saved = time.monotonic()
        self.stopped = False
        self.broken_at: int | None = None
        self.loss_sum = 0.0
        self.loss_count = 0

    @property
    def seconds(self) -> float:
        """Since training began in this process."""
        return time.monotonic() - self._began

    def pace(self, step: int) -> float:
        """Steps a second."""
        return (step - self._began_at) / max(self.seconds, 1e-9)

    def tokens_per_s(self, step: int) -> float:
        """Of the examples, padding aside."""
        return self.pace(step) * self._plan.batch_size * self._tokens

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Time counts from here."""
        self._began_at = state.global_step
        self._began = self._saved = time.monotonic()
        if self._began_at:
            state.log_history.append({"step": self._began_at, "resumed": True})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decide whether to save, and whether this step is the last."""
        every = self._plan.checkpoint_every_steps
        stop = Path(self._plan.stop_file).exists()
        due = time.monotonic() - self._saved >= self._plan.checkpoint_every_s
        stop, due = self._agreed(stop), self._agreed(due)
        if stop and state.global_step < state.max_steps:
            self.stopped = control.should_training_stop = True
        if self.stopped or due or (every is not None and state.global_step % every == 0):
            # Logged first, so that a loss that is no number is found before it is saved.
            control.should_log = control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Tell the figures. A loss or a gradient that is no number ends the training; nothing of it is saved."""
        logs = logs or {}
        loss, gradient = logs.get("loss"), logs.get("grad_norm")
        if any(value is not None and not math.isfinite(value) for value in (loss, gradient)):
            self.broken_at = state.global_step
            control.should_training_stop, control.should_save, control.should_evaluate = True, False, False
            return
        if loss is not None:
            self.loss_sum, self.loss_count = self.loss_sum + loss, self.loss_count + 1
        if loss is None and "eval_loss" not in logs:
            return
        step, pace = state.global_step, self.pace(state.global_step)
        if step and state.log_history:  # the entry of these logs: it is kept in checkpoints, and so is this
            told = {"tokens_per_s": round(self.tokens_per_s(step), 2), "seconds": round(self.seconds, 4)}
            state.log_history[-1].update(told)
        self._teller.tell(
            Stepped(
                step=step,
                steps=state.max_steps,
                epoch=round(state.epoch or 0, 4),
                loss=loss,
                validation_loss=logs.get("eval_loss"),
                learning_rate=logs.get("learning_rate"),
                gradient_norm=gradient,
                tokens_per_s=self.tokens_per_s(step),
                memory_bytes=peak_memory(self._device),
                seconds=self.seconds,
                left_s=(state.max_steps - step) / pace if pace else 0,
            )
        )

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop when the loss has not become lower for long enough. What came before a checkpoint counts."""
        patience = self._plan.early_stopping
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        if patience is None or not losses:
            return
        best = 0
        for at, loss in enumerate(losses):
            if loss < losses[best] - PATIENT_BY:
                best = at
        if len(losses) - 1 - best >= patience:
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell of a checkpoint that is complete on this disk."""
        self._saved = time.monotonic()
        state.log_history.append({"step": state.global_step, "saved": True})
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self._teller.tell(Saved(step=state.global_step, folder=str(folder), seconds=self.seconds))

    def _agreed(self, mine: bool) -> bool:
        """Whether any of the processes says so: all of them must do the same."""
        if not torch.distributed.is_initialized():
            return mine
        one = torch.tensor(int(mine), device=self._device)
        torch.distributed.all_reduce(one, op=torch.distributed.ReduceOp.MAX)
        return bool(one.item())
