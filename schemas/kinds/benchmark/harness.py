"""What one run of lm-evaluation-harness is told, what it asks of the model meanwhile, and what it tells in the end."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter


class HarnessTask(BaseModel):
    """A task, or group of tasks, of lm-eval. `name`: the job's; `task`: lm-eval's.

    `data`: an absolute folder with the task's data, or with tasks of its own; null: data comes from a hub. `chat`:
    prompts go through the model's chat template.
    """

    name: str
    task: str
    shots: int | None = None
    data: str | None = None
    chat: bool = False


class HarnessPlan(BaseModel):
    """A run. `folder`: absolute, for all that is written. `limit`: only the first items of each task."""

    tasks: list[HarnessTask]
    folder: str
    limit: int | None = None


class Asking(BaseModel):
    """So many more requests are going to be asked."""

    event: Literal["asking"] = "asking"
    count: int


class Asked(BaseModel):
    """A request to the model: how likely `continuations` are after `context`, or what it writes after it.

    `chat`: the context is a conversation as JSON, `[{"role", "content"}]`, for the model's chat template.
    """

    event: Literal["asked"] = "asked"
    id: int
    task: str = Field(description="The job's name of the task that asks.")
    context: str
    continuations: list[str] | None = None
    chat: bool = False
    max_tokens: int = 256
    temperature: float = 0.0
    stop: list[str] = Field(default_factory=list)
    nth: int = Field(0, description="Which of several texts after the same context is wanted, from 0.")


class Answered(BaseModel):
    """What the model said: a log probability, and whether it is greedy, for each continuation; or a text."""

    id: int
    likelihoods: list[tuple[float, bool]] = Field(default_factory=list)
    text: str = ""


class Told(BaseModel):
    """lm-eval's figures for one of the job's tasks. `results`: metrics by the names of tasks and groups."""

    name: str
    results: dict[str, dict[str, Any]]
    items: dict[str, int]
    versions: dict[str, str]
    shots: dict[str, int]


class Ended(BaseModel):
    """All is measured. `samples`: a file of JSON Lines."""

    event: Literal["ended"] = "ended"
    tasks: list[Told]
    samples: str
    lm_eval: str


class Failed(BaseModel):
    """The run cannot go on. `retryable`: another try may help."""

    event: Literal["failed"] = "failed"
    code: str
    message: str
    retryable: bool = False


Frame = Annotated[Asking | Asked | Ended | Failed, Field(discriminator="event")]
FRAME: TypeAdapter[Frame] = TypeAdapter(Frame)
