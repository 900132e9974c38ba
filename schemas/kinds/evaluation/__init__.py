"""`evaluation`: answers to the questions of a dataset, scored, and a report; or a comparison of runs that exist."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator

from schemas.filters import Filter
from schemas.kinds.evaluation.graders import Grader, LabelModel, ScoreModel
from schemas.kinds.evaluation.items import MAX_INLINE_ITEMS, Dataset, InlineItem
from schemas.kinds.evaluation.judge import Ceiling, Judge
from schemas.kinds.evaluation.metrics import DEFAULT as DEFAULT_METRICS
from schemas.kinds.evaluation.metrics import DEFAULT_JUDGED, MetricName, metric
from schemas.kinds.inference import Generate, InferenceInput
from schemas.models import DEFAULT
from schemas.names import CollectionName, FileId
from schemas.tracking import ExperimentName

MAX_VARIANTS = 16
PLACE = "{question}"

VariantName = Annotated[str, StringConstraints(pattern=r"^[\w][\w.+=-]{0,62}$")]
_STRICT = ConfigDict(extra="forbid", defer_build=True)


class RetrievalVariant(BaseModel):
    """A way to answer from a collection: what `inference` is given, but for the question.

    `collection`: instead of the evaluation's, as one with other settings.
    """

    model_config = _STRICT

    kind: Literal["inference"] = "inference"
    name: VariantName
    collection: CollectionName | None = None
    top_k: int = Field(5, ge=1, le=100)
    rerank: bool | None = None
    filter: Filter = Field(default_factory=dict)
    generate: Generate | None = Field(default_factory=Generate, description="null: only retrieval is evaluated.")

    @property
    def generates(self) -> bool:
        """Whether it makes answers."""
        return self.generate is not None

    @property
    def retrieves(self) -> bool:
        """Whether it finds documents."""
        return True


class ModelVariant(BaseModel):
    """A way to ask a model alone: the prompt, in which the question takes the place of `{question}`."""

    model_config = _STRICT

    kind: Literal["generation"]
    name: VariantName
    model: str = Field(DEFAULT, min_length=1, max_length=200)
    prompt: str = Field(PLACE, min_length=1, max_length=20_000)
    system: str | None = Field(None, min_length=1, max_length=20_000)
    max_tokens: int = Field(256, ge=1, le=131_072)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)

    @model_validator(mode="after")
    def _asks_the_question(self) -> Self:
        if PLACE not in self.prompt:
            raise ValueError(f"the prompt must hold {PLACE}, where the question goes")
        return self

    @property
    def generates(self) -> bool:
        """Whether it makes answers."""
        return True

    @property
    def retrieves(self) -> bool:
        """Whether it finds documents."""
        return False


def _kind(given: Any) -> str:
    return str(given.get("kind", "inference") if isinstance(given, Mapping) else getattr(given, "kind", ""))


Variant = Annotated[
    Annotated[RetrievalVariant, Tag("inference")] | Annotated[ModelVariant, Tag("generation")],
    Discriminator(_kind),
]


class Gate(BaseModel):
    """A condition that the run must meet, for one variant or for all.

    `min`: the mean, with missing scores as 0, is at least this. `not_worse_than`: another variant of this run, or the
    items file of an earlier one; the 95 % interval of the difference must lie above `-by`.
    """

    model_config = _STRICT

    metric: str
    variant: VariantName | None = None
    min: float | None = Field(None, ge=0, le=1)
    not_worse_than: VariantName | FileId | None = None
    by: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.min is None) == (self.not_worse_than is None):
            raise ValueError("give either `min` or `not_worse_than`")
        return self

    @property
    def other_run(self) -> str | None:
        """The items file of the earlier run that is compared with, if it is one."""
        return self.not_worse_than if self.not_worse_than and _is_file(self.not_worse_than) else None

    def applies_to(self, variant: str) -> bool:
        """Whether it says something about this variant: a variant is not compared with itself."""
        return self.variant in (None, variant) and self.not_worse_than != variant


class Run(BaseModel):
    """An earlier run: its items file, and which of its variants is meant; null: its first."""

    model_config = _STRICT

    name: VariantName
    items_file: FileId
    variant: VariantName | None = None


class EvaluationInput(BaseModel):
    """What to evaluate: a `dataset` or `items`, with `variants`; or `runs` that exist, to be compared item by item.

    The first variant, or run, is the baseline of all comparisons. `judge`: the model that scores what only a model can;
    graders may name it instead. `breakdown`: a metadata field. `seed`: of the resampling. `experiment`: of the tracker,
    where the deployment has one; null: the name of the collection or model. `reuse`: take answers that an earlier
    evaluation got to the same question, asked in the same way. `again`: how often questions are asked again that failed
    although trying again can help.
    """

    model_config = _STRICT

    dataset: Dataset | None = None
    items: list[InlineItem] | None = Field(None, min_length=1, max_length=MAX_INLINE_ITEMS)
    runs: list[Run] | None = Field(None, min_length=2, max_length=MAX_VARIANTS)
    collection: CollectionName | None = None
    variants: list[Variant] = Field(default_factory=list, max_length=MAX_VARIANTS)
    metrics: list[MetricName] | None = Field(None, min_length=1, max_length=40)
    graders: list[Grader] = Field(default_factory=list, max_length=20)
    gates: list[Gate] = Field(default_factory=list, max_length=40)
    judge: Judge | None = None
    ceiling: Ceiling | None = None
    breakdown: str | None = Field(None, min_length=1, max_length=200)
    language: Literal["ko", "en"] = "ko"
    experiment: ExperimentName | None = None
    title: str | None = Field(None, min_length=1, max_length=200)
    seed: int = Field(0, ge=0, lt=2**32)
    reuse: bool = True
    again: int = Field(1, ge=0, le=5)

    @model_validator(mode="before")
    @classmethod
    def _graders_name_the_judge(cls, given: Any) -> Any:
        """OpenAI's graders name their model themselves."""
        if isinstance(given, dict) and given.get("judge") is None and isinstance(given.get("graders"), list):
            named = [one.get("model") for one in given["graders"] if isinstance(one, dict)]
            if first := next((one for one in named if isinstance(one, str)), None):
                return {**given, "judge": {"model": first}}
        return given

    @model_validator(mode="after")
    def _is_judged(self) -> Self:
        asking = self.asking_graders
        judged = [name for name in self.metrics or () if metric(name).ragas]
        if self.judge is None:
            if judged or asking:
                name = f"metric {judged[0]!r}" if judged else f"grader {asking[0].name!r}"
                raise ValueError(f'the {name} needs a judge: name a model, as "judge": {{"model": "default"}}')
            return self
        if self.runs is not None:
            raise ValueError("`runs` have been scored already: give no `judge` with them")
        if other := next((one for one in asking if one.model not in (None, self.judge.model)), None):
            raise ValueError(f"a run has one judge, {self.judge.model!r}, but the grader {other.name!r} names another")
        return self

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if sum(one is not None for one in (self.dataset, self.items, self.runs)) != 1:
            raise ValueError("give one of `dataset`, `items` and `runs`")
        if self.runs is not None and (self.variants or self.collection):
            raise ValueError("`runs` have been answered already: give no `variants` and no `collection` with them")
        names = [one.name for one in (self.runs or self.variants)]
        if len(set(names)) < len(names):
            raise ValueError("two variants have the same name")
        if self.runs is None:
            nowhere = [
                one.name
                for one in self.ways
                if isinstance(one, RetrievalVariant) and not (one.collection or self.collection)
            ]
            if nowhere:
                raise ValueError(f"give a `collection`: the variant {nowhere[0]!r} has none")
        if self.runs is not None and self.graders:
            raise ValueError("`runs` have been scored already: give no `graders` with them")
        graders = [one.name for one in self.graders]
        if len(set(graders)) < len(graders):
            raise ValueError("two graders have the same name")
        known = {one.name for one in (self.runs or self.ways)}
        for gate in self.gates:
            # An earlier run may have had graders of its own.
            if gate.metric not in graders and self.runs is None:
                metric(gate.metric)
            for name in (gate.variant, None if gate.other_run else gate.not_worse_than):
                if name is not None and name not in known:
                    raise ValueError(f"a gate names the variant {name!r}, which is none of {', '.join(sorted(known))}")
        return self

    @property
    def ways(self) -> list[RetrievalVariant | ModelVariant]:
        """The variants; one with every default where none is given."""
        if self.runs is not None:
            return []
        return list(self.variants) or [RetrievalVariant(name="default")]

    @property
    def wanted_metrics(self) -> list[str]:
        """The metrics that were asked for, or those of a run that names none."""
        if self.metrics is not None:
            return list(dict.fromkeys(self.metrics))
        judged = DEFAULT_JUDGED if self.judge is not None and not self.asking_graders else ()
        return [*DEFAULT_METRICS, *judged]

    @property
    def asking_graders(self) -> list[ScoreModel | LabelModel]:
        """The graders that ask the judge."""
        return [one for one in self.graders if isinstance(one, ScoreModel | LabelModel)]

    @property
    def package_groups(self) -> frozenset[str]:
        """Optional groups that the workers of its judge need."""
        return frozenset({"eval"} if any(metric(name).ragas for name in self.wanted_metrics) else ())

    def question(self, way: RetrievalVariant, question: str) -> InferenceInput:
        """The child's input for one question."""
        collection = way.collection or self.collection
        assert collection is not None  # checked above
        return InferenceInput(
            collection=collection,
            question=question,
            top_k=way.top_k,
            rerank=way.rerank,
            filter=way.filter,
            generate=way.generate,
            retrieved=True,
        )


def _is_file(name: str) -> bool:
    return name.startswith("file_") and len(name) == len("file_") + 32
