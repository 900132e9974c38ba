"""`training`: a dataset of examples makes an adapter of a base model, or new weights for it."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.adapters import AdapterName
from schemas.kinds.training.gate import GateOutcome, TrainingGate
from schemas.lineage import SourceFile
from schemas.models import MAX_RANK, ModelName
from schemas.names import FileId
from schemas.tracking import ExperimentName, Tracking

Method = Literal["sft", "dpo", "orpo", "kto"]
"""Supervised fine-tuning; preferences by pairs (DPO, ORPO); preferences by single judgements (KTO)."""

AdapterKind = Literal["lora", "qlora", "dora", "full"]
"""`qlora`: LoRA on a base in 4 bits, which needs a GPU. `full`: no adapter, all weights are trained."""

SERVED: Final = frozenset({"lora", "qlora"})
"""The kinds of adapters that the engines serve."""

Export = Literal["merged", "gguf", "onnx"]
"""`merged`: base and adapter as one model, safetensors. `gguf`: for llama.cpp. `onnx`: for ONNX Runtime."""

Auto = Literal["auto"]
TableFormat = Literal["jsonl", "csv", "tsv", "parquet"]
Language = Literal["ko", "en"]


class Hyperparameters(BaseModel):
    """How to train. What is `auto` is chosen from the method, the data and the device; the result says what it was.

    `batch_size`: examples in one step of the optimiser. `device_batch_size`: of these, how many one device takes at a
    time; it changes memory and speed, and nothing that is learned. `max_length`: tokens of an example.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    epochs: float = Field(3, gt=0, le=100)
    max_steps: int | None = Field(None, ge=1, le=1_000_000, description="Ends sooner than the epochs.")
    learning_rate: Auto | Annotated[float, Field(gt=0, le=1)] = "auto"
    scheduler: Literal["linear", "cosine", "constant"] = "cosine"
    warmup_share: float = Field(0.03, ge=0, le=0.5, description="Of the steps.")
    weight_decay: float = Field(0, ge=0, le=1)
    batch_size: Auto | Annotated[int, Field(ge=1, le=4_096)] = "auto"
    device_batch_size: Auto | Annotated[int, Field(ge=1, le=4_096)] = "auto"
    max_length: Auto | Annotated[int, Field(ge=16, le=131_072)] = "auto"
    rank: int = Field(16, ge=1, le=MAX_RANK)
    alpha: Auto | Annotated[int, Field(ge=1, le=1_024)] = "auto"
    dropout: float = Field(0, ge=0, lt=1)
    beta: float = Field(0.1, gt=0, le=10, description="Of DPO, ORPO and KTO: how closely to keep to the base.")
    completion_only: bool = Field(True, description="Of SFT: learn the answers alone, not the questions.")
    packing: bool = Field(False, description="Of SFT: several examples in one sequence. It needs flash attention.")
    gradient_checkpointing: Auto | bool = "auto"
    evaluate_every: Auto | Annotated[int, Field(ge=1)] = Field("auto", description="Steps.")
    early_stopping: int | None = Field(
        None, ge=1, le=1_000, description="Stop after so many evaluations in a row without a lower loss."
    )
    checkpoint_every_steps: int | None = Field(None, ge=1)
    checkpoint_every_s: float = Field(600, ge=1, le=86_400)
    seed: int = Field(0, ge=0, lt=2**32)


class Recipe(BaseModel):
    """What is trained, on what, and how. `base_model`: a model of the deployment whose weights workers have.

    Without a `validation` file, `validation_share` of the dataset is held out. `language`: of the report. `nodes`: how
    many machines train it together; null: as many as the deployment says.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    base_model: ModelName = "default"
    dataset: FileId
    format: TableFormat | None = Field(None, description="null: the file name says it.")
    validation: FileId | None = None
    validation_share: float = Field(0.1, ge=0, le=0.5)
    method: Method = "sft"
    adapter: AdapterKind = "lora"
    hyperparameters: Hyperparameters = Hyperparameters()
    nodes: int | None = Field(None, ge=1, le=64)
    language: Language = "ko"

    @model_validator(mode="after")
    def _only_answers_are_packed(self) -> Self:
        if self.hyperparameters.packing and self.method != "sft":
            raise ValueError("hyperparameters.packing: only `sft` packs examples; the other methods compare them")
        return self


class TrainingInput(Recipe):
    """One training of a recipe. `experiment`: of the tracker, the base model's name if absent. `gate`: an alias that
    the adapter takes over if it is not worse than the model that the alias points to.
    """

    register_as: AdapterName | None = Field(None, description="Serve it under this name: `base:name`.")
    experiment: ExperimentName | None = None
    gate: TrainingGate | None = None
    export: list[Export] = Field(default_factory=list, max_length=3, description="What else to make of the weights.")

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        check_servable(self.adapter, self.register_as)
        return self

    @model_validator(mode="after")
    def _exports_differ(self) -> Self:
        if len(set(self.export)) < len(self.export):
            raise ValueError("export: name each form once")
        if self.adapter == "full" and "merged" in self.export:
            raise ValueError("export: a full training has no adapter to merge; its weights are the result")
        return self

    @model_validator(mode="after")
    def _gate_is_fair(self) -> Self:
        gate = self.gate
        if gate is None:
            return self
        if self.register_as is None:
            raise ValueError("gate: give `register_as`, the name under which the adapter is promoted")
        if gate.dataset is not None and gate.dataset.file == self.dataset:
            raise ValueError("gate: its questions are the examples that are trained on; name a file of held-out ones")
        if gate.asks_held_out and self.validation is None and not self.validation_share:
            raise ValueError("gate: nothing is held out to decide with; give a `validation_share` or gate.dataset")
        return self


def check_servable(adapter: AdapterKind, register_as: str | None) -> None:
    """Raise `ValueError` for an adapter that is to be registered and that no engine serves."""
    if register_as is not None and adapter not in SERVED:
        raise ValueError(
            f"the engines serve no adapter of the kind {adapter!r}: leave out `register_as`, or train"
            f" {' or '.join(sorted(SERVED))}"
        )


class DataReport(BaseModel):
    """What the dataset holds. Tokens are those of the base model's tokenizer, with its chat template.

    `dataset` and `validation`: the files that were read. `questions`: held-out examples as questions of the gate.
    `rows`: examples trained on. `duplicates` and `overlapping` (with the validation file) were left out.
    `too_long`: examples cut at `max_length`; of these `masked_away` had no token of an answer left and were left out.
    """

    rows: int
    validation_rows: int
    duplicates: int
    overlapping: int
    tokens: int = 0
    longest: int = 0
    too_long: int = 0
    masked_away: int = 0
    dataset: SourceFile | None = None
    validation: SourceFile | None = None
    questions: str | None = None


class TrainingMetrics(BaseModel):
    """Losses are means over tokens, or over pairs for preferences. `seconds`: of training alone, over all tries."""

    steps: int
    epochs: float
    train_loss: float | None
    validation_loss_before: float | None
    validation_loss: float | None
    tokens_per_s: float
    seconds: float
    peak_memory_bytes: int


class Chosen(BaseModel):
    """What `auto` came to, and the device."""

    device: str
    processes: int
    precision: Literal["float32", "bfloat16", "float16"]
    learning_rate: float
    batch_size: int
    device_batch_size: int
    accumulation: int
    max_length: int
    gradient_checkpointing: bool
    trainable_parameters: int
    parameters: int
    expected_memory_bytes: int


class TrainingResult(BaseModel):
    """`adapter`: a zip archive as `POST /v1/models` takes it, with tokenizer and chat template; of a full training, the
    weights. `model`: what requests may name, if `register_as` was given. `metrics_file`: a JSON object for each step
    that was logged. `report`: the same as a page. `resumes`: how often the training went on from a checkpoint.
    `tracking`: null where the deployment has no tracker. `exports`: files, by what was asked for. `gate`: what became
    of the gate.
    """

    adapter: str
    model: str | None
    registered: bool
    metrics: TrainingMetrics
    data: DataReport
    settings: Chosen
    metrics_file: str
    report: str | None = None
    resumes: int
    warnings: list[str]
    tracking: Tracking | None = None
    exports: dict[Export, str] = {}
    gate: GateOutcome | None = None
