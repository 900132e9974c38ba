"""The live line of `welip train`: the losses as a curve, and the newest figures, from the job's events."""

from itertools import pairwise
from typing import Final

from producers.client.events import Event, ProgressEvent, StateEvent

WIDTH: Final = 16
"""Characters of the curve, each the mean of a part of the losses."""
HEIGHTS: Final = "▁▂▃▄▅▆▇█"
GIGABYTE: Final = 1e9


class LiveTraining:
    """What is shown of a training that goes on. `fraction`: of its steps, 0 to 1."""

    def __init__(self) -> None:
        self.text = "waiting for a worker"
        self.fraction = 0.0
        self._losses: list[float] = []

    def add(self, event: Event) -> None:
        """Take in the job's next event."""
        match event:
            case ProgressEvent():
                self._progress(event)
            case StateEvent() if event.data["state"] == "queued":
                self.text = "waiting for a worker"
            case Event(type="paused"):
                self.text = "paused"
            case Event(type="resumed"):
                self.text = "goes on"
            case _:
                pass

    def _progress(self, event: ProgressEvent) -> None:
        progress, metrics = event.progress, event.metrics
        self.text = progress.message or self.text
        if not metrics:
            return
        self.fraction = progress.done / max(1, progress.total)
        told = [f"step {progress.done:,} of {progress.total:,}", self.text]
        if "loss" in metrics:
            self._losses.append(metrics["loss"])
        if "learning_rate" in metrics:
            told.append(f"rate {metrics['learning_rate']:.1e}")
        if "gradient_norm" in metrics:
            told.append(f"gradient {metrics['gradient_norm']:.2f}")
        if "memory_bytes" in metrics:
            told.append(f"{metrics['memory_bytes'] / GIGABYTE:.1f} GB")
        self.text = f"{curve(self._losses)} {' · '.join(told)}".lstrip()


def curve(values: list[float]) -> str:
    """Values as bars, `WIDTH` at most: the highest is full, the lowest a line. Of one value there is no curve."""
    if len(values) < 2:
        return ""
    parts = min(WIDTH, len(values))
    bounds = [len(values) * at // parts for at in range(parts + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(bounds)]
    lowest, span = min(means), max(means) - min(means)
    return "".join(HEIGHTS[round((mean - lowest) / span * (len(HEIGHTS) - 1)) if span else 0] for mean in means)
