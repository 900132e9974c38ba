"""`benchmark`: how well a model does alone: how likely it finds texts, which choice it prefers, and lm-eval's tasks."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.models import DEFAULT
from schemas.names import FileId
from schemas.tracking import ExperimentName

MAX_TASKS: Final = 20
MAX_ITEMS: Final = 50_000
MAX_BYTES: Final = 200 * 1024**2
QUESTION: Final = "{question}"
CHOICES: Final = "{choices}"

_STRICT = ConfigDict(extra="forbid", defer_build=True)

TaskName = Annotated[str, StringConstraints(pattern=r"^[\w][\w.+=-]{0,99}$")]


class PerplexityTask(BaseModel):
    """How well the model predicts texts. `file`: JSON Lines with a `text` in each, or plain text."""

    model_config = _STRICT

    type: Literal["perplexity"]
    name: TaskName = "perplexity"
    file: FileId

    @property
    def title(self) -> str:
        """What its figures are called."""
        return self.name


class ChoiceTask(BaseModel):
    """Which of several choices the model finds most likely. `file`: JSON Lines of question, choices and answer.

    `prompt`: what stands before the model's answer; `{choices}` are lines such as `A. Seoul`. `answer_as`: what is
    scored, the letter of a choice or its text.
    """

    model_config = _STRICT

    type: Literal["multiple_choice"]
    name: TaskName = "accuracy"
    file: FileId
    prompt: str = Field(f"{QUESTION}\n{CHOICES}\nAnswer:", min_length=1, max_length=20_000)
    answer_as: Literal["letter", "text"] = "letter"

    @property
    def title(self) -> str:
        """What its figures are called."""
        return self.name

    @model_validator(mode="after")
    def _shows_what_is_asked(self) -> Self:
        if QUESTION not in self.prompt:
            raise ValueError(f"the prompt must hold {QUESTION}, where the question goes")
        if self.answer_as == "letter" and CHOICES not in self.prompt:
            raise ValueError(f"the prompt must hold {CHOICES}: the model cannot know what the letters stand for")
        return self


class LmEvalTask(BaseModel):
    """A task or group of tasks of lm-evaluation-harness. `task`: its name there, or that of a task in `file`.

    `file`: a zip archive with its data, and perhaps its task file; null: the data comes from a hub. `shots`: examples
    before each item; null: as the task says. `chat`: what the model writes goes through its chat template. `name`:
    what figures are called; null: as the task.
    """

    model_config = _STRICT

    type: Literal["lm_eval"]
    task: Annotated[str, StringConstraints(pattern=r"^[\w][\w.+=-]{0,199}$")]
    name: TaskName | None = None
    file: FileId | None = None
    shots: int | None = Field(None, ge=0, le=64)
    chat: bool = False

    @property
    def title(self) -> str:
        """What its figures are called."""
        return self.name or self.task[:100]


FileTask = PerplexityTask | ChoiceTask
"""What needs no lm-eval."""
BenchmarkTask = Annotated[FileTask | LmEvalTask, Field(discriminator="type")]


class BenchmarkInput(BaseModel):
    """A model of the deployment and what it is to do. `limit`: only the first items of each task.

    `reuse`: take what an earlier benchmark was told by the same model. `experiment`: of the tracker, where the
    deployment has one; null: the name of the model.
    """

    model_config = _STRICT

    model: str = Field(DEFAULT, min_length=1, max_length=200)
    tasks: list[BenchmarkTask] = Field(min_length=1, max_length=MAX_TASKS)
    limit: int | None = Field(None, ge=1, le=MAX_ITEMS)
    reuse: bool = True
    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = None
    experiment: ExperimentName | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [task.title for task in self.tasks]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two tasks have the name {twice!r}: give each a `name` of its own")
        return self
