"""What one run of the training process is told, and what it tells while it runs."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from schemas.kinds.training import AdapterKind, Auto, Chosen, Export, Method


class TrainingPlan(BaseModel):
    """A run, complete but for what only the process with the device can choose. Paths are absolute.

    `name`: the job's. `nodes`: what the request says. `weights`: a folder, or the id of a model on a hub. `output`: a
    folder for all that is written. `stop_file`: as soon as it exists, the process saves a checkpoint and ends.
    `resume`: the folder of a checkpoint. `tokenised`: a file that `Tokenised` told of, by an earlier process.
    """

    name: str = "training"
    nodes: int | None = None
    weights: str
    revision: str | None
    method: Method
    adapter: AdapterKind
    train: str
    validation: str | None
    output: str
    resume: str | None
    tokenised: str | None = None
    stop_file: str

    epochs: float
    max_steps: int | None
    learning_rate: float
    scheduler: Literal["linear", "cosine", "constant"]
    warmup_share: float
    weight_decay: float
    batch_size: int
    device_batch_size: Auto | int
    max_length: Auto | int
    rank: int
    alpha: int
    dropout: float
    beta: float
    completion_only: bool
    packing: bool
    gradient_checkpointing: Auto | bool
    evaluate_every: Auto | int
    early_stopping: int | None
    checkpoint_every_steps: int | None
    checkpoint_every_s: float
    seed: int
    export: list[Export] = []


class Counted(BaseModel):
    """The examples were read with the model's tokenizer."""

    event: Literal["counted"] = "counted"
    rows: int
    validation_rows: int
    tokens: int
    longest: int
    too_long: int
    masked_away: int


class Tokenised(BaseModel):
    """The examples were tokenised, and the file holds what came of it: later processes need not do it again."""

    event: Literal["tokenised"] = "tokenised"
    file: str


class Begun(BaseModel):
    """The model is loaded, and training begins after `step`."""

    event: Literal["begun"] = "begun"
    step: int
    steps: int
    chosen: Chosen


class Stepped(BaseModel):
    """Steps were made, or the loss before the first one was measured.

    `seconds`: of training in this process; `left_s`: how long the rest takes at this pace.
    """

    event: Literal["stepped"] = "stepped"
    step: int
    steps: int
    epoch: float
    loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    tokens_per_s: float
    memory_bytes: int
    seconds: float
    left_s: float

    def metrics(self) -> dict[str, float]:
        """The figures by name. Of an evaluation only its loss: the rest belongs to the step before it."""
        if self.loss is None:
            return {} if self.validation_loss is None else {"validation_loss": self.validation_loss}
        known = self.model_dump(exclude={"event", "step", "steps", "seconds"})
        return {name: float(value) for name, value in known.items() if value is not None}


class Saved(BaseModel):
    """A checkpoint is complete in a folder of its own. `seconds`: of training in this process until then."""

    event: Literal["saved"] = "saved"
    step: int
    folder: str
    seconds: float


class Stopped(BaseModel):
    """The process was told to stop, and its last checkpoint is saved."""

    event: Literal["stopped"] = "stopped"
    step: int


class Ended(BaseModel):
    """Training is over. `folder` holds the adapter, or the weights, with tokenizer and chat template.

    `exports`: where what else was made lies, folders and files.
    """

    event: Literal["ended"] = "ended"
    step: int
    epoch: float
    folder: str
    train_loss: float | None
    validation_loss: float | None
    tokens_per_s: float
    seconds: float
    peak_memory_bytes: int
    exports: dict[Export, str] = {}


class Failed(BaseModel):
    """The run cannot go on. `retryable`: another try, or another machine, may help."""

    event: Literal["failed"] = "failed"
    code: str
    message: str
    retryable: bool = False


Frame = Annotated[
    Counted | Tokenised | Begun | Stepped | Saved | Stopped | Ended | Failed, Field(discriminator="event")
]
FRAME: TypeAdapter[Frame] = TypeAdapter(Frame)
