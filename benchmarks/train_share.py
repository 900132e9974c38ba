"""How fast a job trains, of the speed of TRL's own trainer with the same settings.

Both train on the same examples in the same order, so a step of one is the same work as that step of the other;
`tokens_share_losses_apart`, the largest difference of their losses at a step, tells whether that is so. They run in
turn, and of each step the shortest time counts, on either side: whatever else runs on the machine only ever adds time,
and it adds more than what is measured here. What a job does beside training it does all the time, so no step is without
it. The first step of a run is left out: there, memory and kernels are set up. Starting, loading and tokenising are on
neither side. `tokens_share_median` is the median, over all steps of all rounds, of what a step took alone divided by
what it took as a job: where both figures differ much, the machine was not quiet.
"""

import json
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.house_rules import training_rows
from infra.local import training


@dataclass(frozen=True, slots=True)
class Run:
    """Of each step the loss, and the seconds from the beginning of training to its end."""

    losses: list[float]
    ends: list[float]

    @property
    def steps(self) -> list[float]:
        """Seconds of each step but the first."""
        return [end - begin for begin, end in pairwise(self.ends)]


def share(alone: Sequence[Run], as_a_job: Sequence[Run]) -> dict[str, float]:
    """The figures, from runs in turn."""
    ratios: list[float] = []
    apart = 0.0
    for there, here in zip(alone, as_a_job, strict=True):
        apart = max(apart, *(abs(a - b) for a, b in zip(there.losses, here.losses, strict=True)))
        ratios += [a / b for a, b in zip(there.steps, here.steps, strict=True)]
    return {
        "tokens_share": round(_shortest(alone) / _shortest(as_a_job), 3),
        "tokens_share_median": round(statistics.median(ratios), 3),
        "tokens_share_losses_apart": round(apart, 6),
    }


def _shortest(runs: Sequence[Run]) -> float:
    """Seconds of a run in which each step is as short as it was in any."""
    return sum(min(times) for times in zip(*(run.steps for run in runs), strict=True))


def logged(lines: Sequence[str]) -> Run:
    """A run from a job's file of metrics."""
    told = [one for one in map(json.loads, lines) if "loss" in one]
    return Run([one["loss"] for one in told], [one["seconds"] for one in told])


def alone(python: Path, folder: Path, how: dict[str, Any]) -> Run:
    """TRL trains by itself. `how`: the settings that a job's hyperparameters come to."""
    (folder / "direct.json").write_text(json.dumps({**how, "output": str(folder / "direct")}))
    turned = folder / "direct.jsonl"
    turned.write_text("\n".join(json.dumps(conversation(row)) for row in training_rows()), encoding="utf-8")
    command = [str(python), "-m", "benchmarks.train_direct", str(folder / "direct.json"), str(turned)]
    done = subprocess.run(command, env=training.environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    steps = json.loads(done.stdout.splitlines()[-1])["steps"]
    return Run([loss for loss, _ in steps], [end for _, end in steps])


def conversation(row: dict[str, str]) -> dict[str, Any]:
    """A row as a job trains on it."""
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }
