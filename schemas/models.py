"""The models of a deployment: one row each. Requests, topics and workers name a model as its row does."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from schemas.errors import InvalidInput

DEFAULT: Final = "default"
"""The model that a request means which names none."""

Task = Literal["chat", "answers", "embeddings", "rerank"]
"""`chat`: continues a conversation, and so also answers questions. `answers`: only answers, from passages. `rerank`:
scores how well texts answer a question.
"""

MAX_RANK: Final = 64
"""Of a LoRA adapter; an engine may take less."""

MODEL_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
ModelName = Annotated[str, StringConstraints(pattern=rf"^{MODEL_NAME}$")]
"""Safe in the name of a topic. No colon: `base:adapter` names an adapter."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Strict):
    """`max_tokens`: of one reply. The others hold for each worker."""

    max_tokens: int | None = Field(None, ge=1)
    at_once: int | None = Field(None, ge=1, le=10_000, description="Requests under way at a time.")
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0, description="Of prompts and replies together.")


class Price(_Strict):
    """Of a million tokens, in the deployment's currency."""

    input: float = Field(ge=0)
    output: float = Field(0, ge=0)


class _Model(_Strict):
    name: ModelName
    tasks: tuple[Task, ...] = Field(("chat",), min_length=1)
    context_length: int | None = Field(None, ge=1, description="Tokens of prompt and reply together.")
    limits: Limits = Limits()
    price: Price | None = None

    @property
    def title(self) -> str:
        """What results call it: `default` says little, so its results name what runs."""
        return self.name

    @property
    def max_lora_rank(self) -> int | None:
        """The largest rank of the adapters that may be registered for it; None: none may be."""
        return None

    def can(self, task: Task) -> bool:
        """Whether it can do this. A model that chats also answers questions."""
        return task in self.tasks or (task == "answers" and "chat" in self.tasks)

    def check_length(self, tokens: int, *, field: str) -> None:
        """Raise `InvalidInput` when a reply may not have so many tokens, or leaves none of the context to a prompt."""
        most = self.limits.max_tokens
        if most is not None and tokens > most:
            raise InvalidInput(f"the model {self.name!r} makes at most {most} tokens", field=field)
        if self.context_length is not None and tokens >= self.context_length:
            why = f"the model {self.name!r} has a context of {self.context_length} tokens, for prompt and reply"
            raise InvalidInput(why, field=field)


class Vectors(_Strict):
    """How an embedding model is asked. `dimension` asks for vectors of that length."""

    dimension: int | None = Field(None, ge=1, le=65_536)
    batch: int = Field(32, ge=1, le=2_048, description="Texts in one request.")
    query_prefix: str = ""
    document_prefix: str = ""


class OpenAIModel(_Model):
    """Any OpenAI-compatible server. `options` are more fields of each request; `api_key_env` names a variable."""

    engine: Literal["openai"]
    tasks: tuple[Literal["chat", "embeddings", "rerank"], ...] = Field(("chat",), min_length=1)
    url: str = Field(pattern="^https?://", max_length=2_000)
    served_as: str | None = Field(None, min_length=1, max_length=500, description="What the server calls it.")
    api_key: SecretStr | None = None
    api_key_env: str | None = Field(None, min_length=1)
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    timeout_s: float = Field(120, gt=0, le=24 * 3600, description="For connecting, and for each silence.")
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    sampling: bool = Field(True, description="Send temperature, top_p and seed.")
    system_role: Literal["system", "developer", "none"] = "system"
    vectors: Vectors = Vectors()
    adapters: dict[ModelName, Annotated[str, StringConstraints(min_length=1, max_length=500)]] = Field(
        default_factory=dict, description="Adapters that the server has itself: what it calls each."
    )
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def on_the_server(self) -> str:
        """The server's name for it."""
        return self.served_as or self.name

    @property
    def title(self) -> str:
        """As above."""
        return self.on_the_server if self.name == DEFAULT else self.name

    @model_validator(mode="after")
    def _one_key(self) -> "OpenAIModel":
        if self.api_key is not None and self.api_key_env is not None:
            raise ValueError("give api_key or api_key_env, not both")
        return self


class _LocalModel(_Model):
    weights: str = Field(
        min_length=1,
        max_length=1_000,
        description="A folder, the id of a model on a hub, or a place in object storage.",
    )
    revision: str | None = Field(None, min_length=1, max_length=200, description="Of a model on a hub.")
    sha256: dict[str, Sha256] = Field(default_factory=dict, description="Of files in the folder, by their names.")
    options: dict[str, Any] = Field(default_factory=dict, description="Passed to the engine as they are.")

    @property
    def in_folder(self) -> bool:
        """Whether the weights are in a folder."""
        return self.weights.startswith(("/", "./", "../", "~"))

    @property
    def stored(self) -> tuple[str | None, str] | None:
        """Where in object storage they are: the bucket, None for the deployment's own, and what their keys begin with.

        None for weights that are elsewhere.
        """
        scheme, separator, path = self.weights.partition("://")
        if not separator:
            return None
        if scheme == "blobs":
            return None, path.strip("/")
        bucket, _, prefix = path.partition("/")
        return bucket, prefix.strip("/")

    @model_validator(mode="after")
    def _weights_can_be_found(self) -> "_LocalModel":
        if (stored := self.stored) is not None and (not self.weights.startswith(("blobs://", "s3://")) or "" in stored):
            raise ValueError(
                "weights: give a folder (`/models/x`, `./x`), a model's id on a hub (`Qwen/Qwen3-8B`), or a place in"
                " object storage (`blobs://models/x`, `s3://bucket/models/x`)"
            )
        on_hub = stored is None and not self.in_folder
        if self.revision is not None and not on_hub:
            raise ValueError("revision: only a model on a hub has one")
        if self.sha256 and on_hub:
            raise ValueError("sha256: only files of a folder or of object storage are compared; a hub has revisions")
        return self


class VllmModel(_LocalModel):
    """vLLM in the worker's process."""

    engine: Literal["vllm"]
    tasks: tuple[Literal["chat"], ...] = Field(("chat",), min_length=1)
    reserved: int | None = Field(None, ge=0, le=10_000, description="Sequences that bulk requests never take.")

    @property
    def max_lora_rank(self) -> int | None:
        """As above. vLLM's own default is 16."""
        return min(int(self.options.get("max_lora_rank", 16)), MAX_RANK) if self.options.get("enable_lora") else None


class TransformersModel(_LocalModel):
    """Transformers in the worker's process: for small models, also on a processor."""

    engine: Literal["transformers"]
    tasks: tuple[Literal["chat"], ...] = Field(("chat",), min_length=1)

    @property
    def max_lora_rank(self) -> int | None:
        """As above."""
        return MAX_RANK


class RerankerModel(_LocalModel):
    """A cross-encoder in the worker's process."""

    engine: Literal["cross-encoder"]
    tasks: tuple[Literal["rerank"], ...] = Field(("rerank",), min_length=1)
    batch: int = Field(32, ge=1, le=2_048, description="Pairs of question and text in one pass.")


class ExtractiveModel(_Model):
    """No model: quotes the passages that answer a question."""

    engine: Literal["extractive"]
    tasks: tuple[Literal["answers"], ...] = Field(("answers",), min_length=1)

    @property
    def title(self) -> str:
        """As above."""
        return self.engine if self.name == DEFAULT else self.name


class CollectionEmbedder(_Model):
    """The embedder that collections are indexed with, which `WELIP_EMBEDDER` names: no row of the file."""

    engine: Literal["embedder"] = "embedder"
    tasks: tuple[Literal["embeddings"], ...] = ("embeddings",)
    embedder: str
    """As collections record it."""

    @property
    def title(self) -> str:
        """As above."""
        return self.embedder


LocalModel = VllmModel | TransformersModel | RerankerModel
"""Weights in the worker's process."""
ModelInFile = Annotated[OpenAIModel | LocalModel | ExtractiveModel, Field(discriminator="engine")]
ModelSpec = OpenAIModel | LocalModel | ExtractiveModel | CollectionEmbedder


class ModelsFile(_Strict):
    """What the file of `WELIP_MODELS` holds."""

    models: list[ModelInFile] = Field(min_length=1, max_length=200)


class ModelNotFound(InvalidInput):
    """A request names a model that is not there, or that cannot do what is asked."""

    code = "model_not_found"


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a deployment, in the order in which a default is looked for.

    `written_at`: when their file was written, in Unix seconds; 0 without a file. `aliases`: a tenant's own names, and
    the full names of the models that they point to. A model's own name goes before an alias.
    """

    rows: tuple[ModelSpec, ...]
    written_at: int = 0
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)

    def of_tenant(self, aliases: Mapping[str, str]) -> "Models":
        """The same models, and what a tenant calls them."""
        return replace(self, aliases=aliases)

    def knows(self, name: str) -> bool:
        """Whether this is a model's name here: its own, what results call it, or `default`."""
        return name == DEFAULT or any(name in (row.name, row.title) for row in self.rows)

    def __iter__(self) -> Iterator[ModelSpec]:
        return iter(self.rows)

    def names(self, task: Task | None = None) -> list[str]:
        """The names of all models, or of those that can do a task."""
        return list(dict.fromkeys(row.name for row in self.rows if task is None or row.can(task)))

    def default(self, task: Task) -> ModelSpec | None:
        """What `default` means for a task: the model of that name, else the first that can do the task."""
        able = [row for row in self.rows if row.can(task)]
        return next((row for row in able if row.name == DEFAULT), able[0] if able else None)

    def find(self, name: str, task: Task) -> ModelSpec | None:
        """The model that a request means by a name: a model's own, `default`, or what results call the default."""
        if name == DEFAULT:
            return self.default(task)
        able = [row for row in self.rows if row.can(task)]
        return next((row for row in able if row.name == name), None) or next(
            (row for row in able if row.title == name), None
        )

    def wanted(self, name: str, task: Task, *, field: str) -> ModelSpec:
        """The same. Raises `ModelNotFound` with the models there are; `field` is where the request names it."""
        found = self.find(name, task)
        if found is not None:
            return found
        there = [*self.names(task), *sorted(self.aliases)]
        can = f"models for {task!r}: {', '.join(there)}" if there else f"no model of this deployment can do {task!r}"
        if name == DEFAULT:
            raise ModelNotFound(can, field=field)
        known = name in self.names()
        raise ModelNotFound(
            f"the model {name!r} {f'cannot do {task!r}' if known else 'is not here'}; {can}", field=field
        )


WITHOUT_MODELS: Final = Models((ExtractiveModel(name=DEFAULT, engine="extractive"),))
"""A deployment that names no model: passages are quoted."""


def colliding(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names whose topics Kafka does not keep apart: the same, or the same but for `.` and `_`."""
    seen: dict[str, str] = {}
    for name in names:
        flat = name.replace(".", "_")
        if flat in seen:
            return seen[flat], name
        seen[flat] = name
    return None
