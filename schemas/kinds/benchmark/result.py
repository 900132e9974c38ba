"""What a benchmark found out."""

from pydantic import BaseModel, Field

from schemas.tracking import Tracking


class Planned(BaseModel):
    """To `run`: how many items each task has, 0 where only lm-eval can tell, and the SHA-256 of each task's file."""

    counts: list[int]
    sha256: list[str | None]


class Measured(BaseModel):
    """A metric: its value, and the standard error of it; null where there is none, as for one text."""

    value: float
    stderr: float | None


class TaskResult(BaseModel):
    """What a task gave. `items`: those that are in its metrics; `unscored`: the others, by the code of the reason.

    `cut`: items whose context was longer than the model's, so that its beginning was left out. `sha256`: of the file.
    `version`, `shots`: as lm-eval tells them, of its tasks.
    """

    name: str
    type: str
    items: int
    metrics: dict[str, Measured]
    unscored: dict[str, int] = Field(default_factory=dict)
    messages: dict[str, str] = Field(default_factory=dict)
    cut: int = 0
    sha256: str | None = None
    version: str | None = None
    shots: int | None = None


class BenchmarkResult(BaseModel):
    """`model`: as results name it, with what tells one version of it from another. `samples`: a file, a line an item.

    `asked`: requests to the model; `reused`: those that were answered before. `versions`: of what measured.
    """

    model: str
    tasks: list[TaskResult]
    asked: int
    reused: int
    tokens: int
    samples: str
    versions: dict[str, str]
    tracking: Tracking | None
