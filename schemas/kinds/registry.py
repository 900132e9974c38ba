"""The registry of kinds: one row each. A stage named here is the module `consumers/stages/<kind>/<stage>.py`."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from schemas.kinds.batch import BatchInput, BatchResult, Checked
from schemas.kinds.benchmark import BenchmarkInput
from schemas.kinds.benchmark.result import BenchmarkResult
from schemas.kinds.benchmark.result import Planned as BenchmarkPlanned
from schemas.kinds.calibration import CalibrationInput, CalibrationPlanned, CalibrationResult
from schemas.kinds.consistency import check
from schemas.kinds.dataset import DatasetInput, DatasetResult, Profiled
from schemas.kinds.embedding import EmbeddingInput, EmbeddingResult
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Planned as EvaluationPlanned
from schemas.kinds.evaluation.carries import Scored, ToCollect
from schemas.kinds.evaluation.judge import JudgeInput, SimilarityInput
from schemas.kinds.evaluation.result import EvaluationResult
from schemas.kinds.generation import GenerationInput, GenerationResult
from schemas.kinds.indexing import IndexingInput, IndexingResult
from schemas.kinds.indexing.carries import Numbered, PartPoints, Planned, RebuildPoints
from schemas.kinds.indexing.parts import PartInput, RebuildInput
from schemas.kinds.inference import Found, InferenceInput, InferenceResult, Resumed, ToEncode, ToGenerate
from schemas.kinds.kind import DEFAULT_BACKOFF, Backoff, Kind, Stage, Step
from schemas.kinds.noop import NoopInput
from schemas.kinds.promotion import Gated, PromotionInput, PromotionResult
from schemas.kinds.search import SearchInput, SearchResult
from schemas.kinds.synthesis import Sampled, SynthesisInput, SynthesisResult, Written
from schemas.kinds.training import TrainingInput, TrainingResult
from schemas.kinds.training.carries import Prepared, Registered, Trained
from schemas.kinds.training.trial import TrialInput
from schemas.models import WITHOUT_MODELS, Models, Task
from schemas.topics import Lane, Pool, group_name, topic_name

_WORK: Final = (  # what a line of a batch may ask for, if clients may
    Kind(
        "indexing",
        IndexingInput,
        IndexingResult,
        {
            "plan": Stage(Pool.CPU, carry=Numbered | None),
            "prepare": Stage(Pool.CPU, PartInput, begins=True),
            "rebuild_prepare": Stage(Pool.CPU, RebuildInput, begins=True, aliases=frozenset({"prepare"})),
            "embed": Stage(Pool.GPU, PartInput | RebuildInput, PartPoints | RebuildPoints),
            "upsert": Stage(Pool.CPU, PartInput, PartPoints),
            "rebuild_upsert": Stage(Pool.CPU, RebuildInput, RebuildPoints, aliases=frozenset({"upsert"})),
            "swap": Stage(Pool.CPU, carry=Planned),
            "report": Stage(Pool.CPU, carry=Planned),
        },
        children=frozenset({"indexing"}),
    ),
    Kind(
        "inference",
        InferenceInput,
        InferenceResult,
        {
            "retrieve": Stage(Pool.CPU, carry=Resumed | None),
            "encode": Stage(Pool.GPU, carry=ToEncode),
            "rerank": Stage(Pool.GPU, carry=Found),
            "generate": Stage(Pool.GPU, carry=ToGenerate, task="answers"),
        },
        asks=("generate", "model"),
    ),
    Kind(
        "generation",
        GenerationInput,
        GenerationResult,
        {"run": Stage(Pool.GPU, task="chat")},
        asks=("model",),
    ),
    Kind(
        "embedding",
        EmbeddingInput,
        EmbeddingResult,
        {"run": Stage(Pool.GPU, task="embeddings")},
        asks=("model",),
    ),
    Kind(
        "evaluation",
        EvaluationInput,
        EvaluationResult,
        {
            "plan": Stage(Pool.CPU),
            "score": Stage(Pool.CPU, carry=EvaluationPlanned),
            "judge": Stage(Pool.GPU, JudgeInput, begins=True, task="chat"),
            "similarity": Stage(Pool.GPU, SimilarityInput, begins=True),
            "collect": Stage(Pool.CPU, carry=ToCollect),
            "report": Stage(Pool.CPU, carry=Scored),
        },
        children=frozenset({"inference", "generation", "evaluation"}),
        asks=("judge", "model"),
    ),
    Kind(
        "calibration",
        CalibrationInput,
        CalibrationResult,
        {"plan": Stage(Pool.CPU), "report": Stage(Pool.CPU, carry=CalibrationPlanned)},
        children=frozenset({"evaluation"}),
    ),
    Kind(
        "benchmark",
        BenchmarkInput,
        BenchmarkResult,
        {"plan": Stage(Pool.CPU), "run": Stage(Pool.GPU, carry=BenchmarkPlanned, task="chat")},
        lane=Lane.BULK,
        asks=("model",),
    ),
    Kind(
        "dataset",
        DatasetInput,
        DatasetResult,
        {"profile": Stage(Pool.CPU), "report": Stage(Pool.CPU, carry=Profiled)},
        children=frozenset({"inference"}),
    ),
    Kind(
        "synthesis",
        SynthesisInput,
        SynthesisResult,
        {
            "sample": Stage(Pool.CPU),
            "verify": Stage(Pool.CPU, carry=Sampled),
            "report": Stage(Pool.CPU, carry=Written),
        },
        children=frozenset({"generation", "inference"}),
    ),
    Kind(
        "promotion",
        PromotionInput,
        PromotionResult,
        {"gate": Stage(Pool.CPU), "promote": Stage(Pool.CPU, carry=Gated)},
        children=frozenset({"evaluation"}),
    ),
    Kind(
        "training",
        TrainingInput,
        TrainingResult,
        {
            "prepare": Stage(Pool.CPU, TrialInput | TrainingInput),
            "train": Stage(Pool.TRAIN, TrialInput | TrainingInput, Prepared, pauses=True),
            "report": Stage(Pool.CPU, TrialInput | TrainingInput, Trained),
            "register": Stage(Pool.CPU, TrialInput | TrainingInput, Trained),
            "conclude": Stage(Pool.CPU, TrialInput | TrainingInput, Registered),
        },
        children=frozenset({"promotion"}),
    ),
    Kind(
        "search",
        SearchInput,
        SearchResult,
        {"ask": Stage(Pool.CPU), "report": Stage(Pool.CPU)},
        children=frozenset({"training"}),
    ),
    Kind("noop", NoopInput, None, {"run": Stage(Pool.CPU)}),
)
_BATCH: Final = Kind(
    "batch",
    BatchInput,
    BatchResult,
    {"check": Stage(Pool.CPU), "assemble": Stage(Pool.CPU, carry=Checked)},
    noun="batch",
    ends={"succeeded": "completed", "expired": "expired"},
    lane=Lane.BULK,
    children=frozenset(kind.name for kind in _WORK if kind.submittable),
)
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in (*_WORK, _BATCH)}
check(KINDS)


@dataclass(frozen=True, slots=True)
class Route:
    """One topic: the stage it summons for, its lane, and the pool that consumes it."""

    kind: str
    stage: str
    lane: Lane
    pool: Pool
    begins: bool
    """Whether a job, or a child of one, begins here. The other stages continue started jobs."""
    task: Task | None = None
    """What the stage has a model do."""
    model: str | None = None
    """The model in the topic's name."""
    served_by: str | None = None
    """The model whose workers read it; None: all workers of the pool do."""

    @property
    def topic(self) -> str:
        """The name of the topic."""
        return topic_name(self.kind, self.stage, self.lane, self.model)

    @property
    def group(self) -> str:
        """The consumer group that reads it on Apache Kafka."""
        return group_name(self.pool, self.lane, self.served_by)


def routes(models: Models = WITHOUT_MODELS) -> Iterator[Route]:
    """Every topic: of present names and models, and of former names, which are only drained.

    A stage that runs a model has one topic for each model that can do its task, and one without a model's name. There
    come jobs of versions that knew no models, which the default does, and jobs whose model is gone, which it fails.
    """
    for kind in KINDS.values():
        named = [(name, name) for name in kind.stages]
        # A former name that another stage now has is a topic already.
        named += [(old, new) for new in kind.stages for old in sorted(kind.stages[new].aliases - set(kind.stages))]
        for kind_name in (kind.name, *sorted(kind.aliases)):
            for stage, present in named:
                row, begins = kind.stages[present], kind.begins(present)
                for lane in Lane:
                    route = Route(kind_name, stage, lane, row.pool, begins, row.task)
                    if row.task is None:
                        yield route
                        continue
                    default = models.default(row.task)
                    yield replace(route, served_by=None if default is None else default.name)
                    if (kind_name, stage) == (kind.name, present):
                        for name in models.names(row.task):
                            yield replace(route, model=name, served_by=name)


def served(
    models: Models,
    pools: Collection[Pool],
    names: Collection[str] | None = None,
    kinds: Collection[str] | None = None,
) -> list[Route]:
    """What a worker reads: the topics of its pools, of which those of models only for the models that it serves.

    `names`: these models; None: all, in the pools of their stages. `kinds`: only what these kinds do; None: all do.
    """
    wanted = KINDS.values() if kinds is None else [KINDS[kind] for kind in kinds]
    named = {name for kind in wanted for name in (kind.name, *kind.aliases)}
    return [
        route
        for route in routes(models)
        if (route.pool in pools if names is None or route.served_by is None else route.served_by in names)
        and route.kind in named
    ]


def kind_of(name: str) -> Kind | None:
    """The kind of this name, present or former."""
    return KINDS.get(name) or next((kind for kind in KINDS.values() if name in kind.aliases), None)


def steps(kind: str, stage: str) -> tuple[Step, ...]:
    """The stages that these names, present or former, may mean; the input decides where there are two."""
    found = kind_of(kind)
    return () if found is None else found.meanings.get(stage, ())


def topic_of(kind: str, stage: str, lane: str, model: str | None = None) -> str:
    """Where a summons goes: to the topic of the present names, and of the job's `model` if the stage runs it."""
    found = KINDS.get(kind)
    if found is None or stage not in found.stages:
        for step in steps(kind, stage):
            return topic_name(step.kind.name, step.name, lane, model if step.stage.task else None)
        return topic_name(kind, stage, lane)
    return topic_name(kind, stage, lane, model if found.stages[stage].task else None)


def submittable() -> list[Kind]:
    """The kinds that clients may submit."""
    return [kind for kind in KINDS.values() if kind.submittable]


def first_stages() -> dict[str, str]:
    """The stage that a job of each kind begins at, by the kind's names, present and former."""
    return {name: kind.first_stage for kind in KINDS.values() for name in (kind.name, *kind.aliases)}


def backoffs() -> dict[str, Backoff]:
    """How long failed tries of each kind wait, by the kind's names, present and former."""
    return {name: kind.backoff for kind in KINDS.values() for name in (kind.name, *kind.aliases)}


def backoff_of(kind: str) -> Backoff:
    """How long failed tries of a kind wait, even if the kind is unknown here."""
    found = kind_of(kind)
    return DEFAULT_BACKOFF if found is None else found.backoff
