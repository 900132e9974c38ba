"""Opens the adapters that the settings name and this process needs: the only place where ports meet infra."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic_core import to_json

from consumers.grading.scorer import IsolatedScorer
from consumers.restored import RestoreWatch
from consumers.stages.ports import (
    Answerer,
    ChildSummary,
    Deployment,
    Embedder,
    Evaluation,
    KnownAnswer,
    Needs,
    Ports,
    SeenTrial,
    Served,
    TextModel,
)
from infra.adapters import AdapterFolder
from infra.analysis.answers import IsolatedAnswerer
from infra.analysis.limits import MODULE as KIWI
from infra.analysis.morphemes import IsolatedMorphemes
from infra.blobs.counted import CountedBlobs
from infra.blobs.open import open_blobs
from infra.corpora.reader import IsolatedTableReader
from infra.documents.long_documents import LongDocumentTurns
from infra.engines.names import embedder_name, reranker_name
from infra.engines.open import open_embedder, open_reranker
from infra.engines.rooms import Room, room_of
from infra.files import PublishedFiles
from infra.harness.process import HarnessProcess
from infra.harness.settings import HarnessSettings
from infra.isolation.forks import ForkServer
from infra.patience import patiently
from infra.postgres.aliases import PostgresAliases
from infra.postgres.answers import PostgresAnswers
from infra.postgres.batches import PostgresBatches
from infra.postgres.catalogue.doubts import PostgresDoubts
from infra.postgres.catalogue.reader import PostgresCatalogueReader
from infra.postgres.catalogue.rebuilds import PostgresRebuildCatalogue
from infra.postgres.catalogue.writer import PostgresCatalogueWriter
from infra.postgres.children import PostgresChildren
from infra.postgres.database import Database
from infra.postgres.embeddings import PostgresEmbeddingCache
from infra.postgres.expiry import PostgresExpiry
from infra.postgres.judgements import PostgresJudgements
from infra.postgres.steering import PostgresSteering
from infra.postgres.tracking import NotTracked, PostgresTrackers
from infra.postgres.trials import PostgresTrials
from infra.prompts.reader import read_prompts
from infra.registering import CountedAtTheEnd, Registrar
from infra.settings import (
    AnalysisSettings,
    BlobsSettings,
    EmbedderSettings,
    GeneratorSettings,
    IndexSettings,
    LimitSettings,
    LoraSettings,
    MlflowSettings,
    ParserSettings,
    PromptSettings,
    RerankerSettings,
    WeightsSettings,
)
from infra.training.kubeflow import TrainJobs
from infra.training.optimiser import OptunaHere
from infra.training.process import TrainingProcess
from infra.training.settings import KubeflowSettings, TrainingSettings
from infra.weights import fetched
from schemas.errors import DependencyMissing
from schemas.models import WITHOUT_MODELS, CollectionEmbedder, LocalModel, Models, ModelSpec, OpenAIModel
from schemas.prompts import Prompts
from schemas.topics import Pool
from schemas.version import version

if TYPE_CHECKING:
    from infra.vectors.edge import EdgeIndex
    from infra.vectors.server import QdrantIndex


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """The settings that select the adapters."""

    blobs: BlobsSettings
    index: IndexSettings
    generator: GeneratorSettings
    embedder: EmbedderSettings
    reranker: RerankerSettings
    parser: ParserSettings
    analysis: AnalysisSettings
    limit: LimitSettings
    models: Models = WITHOUT_MODELS
    lora: LoraSettings = field(default_factory=LoraSettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    weights: WeightsSettings = field(default_factory=WeightsSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    mlflow: MlflowSettings = field(default_factory=MlflowSettings)
    harness: HarnessSettings = field(default_factory=HarnessSettings)
    kubeflow: KubeflowSettings = field(default_factory=KubeflowSettings)

    def digest(self) -> str:
        """Of all that shapes answers: settings of models and search, prompts, WeLIP's version. No secret is part of it.

        Raises `PromptsInvalid`.
        """
        prompts = list(read_prompts(self.prompts))
        shape = [version(), self.generator, self.embedder, self.reranker, list(self.models), prompts]
        return hashlib.sha256(to_json(shape)).hexdigest()


@dataclass(frozen=True, slots=True)
class Opened:
    """What one process opened."""

    ports: Ports
    answers: Sequence[Callable[[], Awaitable[None]]]
    """Each waits until an outside system answers, and logs while it is away."""
    warm: Callable[[], Coroutine[Any, Any, None]]
    """Loads in advance what the first job would wait for."""
    watches: Sequence[Callable[[], Coroutine[Any, Any, None]]]
    """Each ends by raising when an engine in this process dies."""
    rooms: Mapping[str, Room]
    """The room in the engines of this process, by their models' names."""
    restore_watch: RestoreWatch | None
    """Compares the vector index with the catalogue; None in a process without one."""
    stopping: Sequence[Callable[[], None]]
    """Each tells something that takes long to come to an end, because this process was told to stop."""


@asynccontextmanager
async def open_ports(
    needs: Needs,
    database: Database,
    settings: AdapterSettings,
    pools: Collection[Pool],
    *,
    worker: str,
    serves: Collection[str] | None = None,
) -> AsyncIterator[Opened]:
    """The ports in `needs`, closed in reverse order at the end; a failure to close one does not keep another open.

    `serves`: the models that this process serves; None: all. `worker` is the name under which files are published.
    Raises `DependencyMissing`, naming the group to install, and `Conflict` for an embedded index in use elsewhere.
    """
    ports = Ports(
        Deployment(
            embedder_name(settings.embedder),
            reranker_name(settings.reranker, settings.models),
            settings.reranker.candidates,
            settings.models,
            settings.digest() if Ports.answers in needs else "",
        )
    )
    answers: list[Callable[[], Awaitable[None]]] = []
    warm: list[Callable[[], Coroutine[Any, Any, None]]] = []
    watches: list[Callable[[], Coroutine[Any, Any, None]]] = []
    rooms: dict[str, Room] = {}
    restore_watch: RestoreWatch | None = None
    stopping: list[Callable[[], None]] = []
    kiwi = ForkServer(KIWI)
    async with AsyncExitStack() as exits:
        # Always: the result of any job may be too large for its row, and then it is a file.
        blobs = open_blobs(settings.blobs)
        exits.push_async_callback(blobs.close)
        limit = settings.limit.file_bytes
        ports.blobs = CountedBlobs(blobs, database, limit) if limit else blobs
        ports.file_store = PublishedFiles(database, ports.blobs, worker)
        answers.append(lambda: patiently(blobs.check, event="blobs.away"))
        if Ports.adapter_registry in needs:
            # Not counted as what jobs store: adapters are counted by their rows.
            ports.adapter_registry = registrar = Registrar(database, blobs, CountedAtTheEnd(limit), settings.models)
            exits.push_async_callback(registrar.close)
        if Ports.trainer in needs:
            ports.trainer = trainer = _trainer(settings)
            stopping.append(trainer.stop)
        if Ports.steering in needs:
            ports.steering = PostgresSteering(database)
        if Ports.expiry in needs:
            ports.expiry = PostgresExpiry(database)
        if Ports.harness in needs:
            ports.harness = HarnessProcess(settings.harness)
        if Ports.adapters in needs:
            ports.adapters = AdapterFolder(database, blobs, settings.models, settings.lora)
        if Ports.answers in needs:
            ports.answers = PostgresAnswers(database, KnownAnswer)
        if Ports.aliases in needs:
            ports.aliases = PostgresAliases(database, settings.models)
        if Ports.batches in needs:
            ports.batches = PostgresBatches(database)
        if Ports.catalogue in needs:
            ports.catalogue = PostgresCatalogueReader(database)
        if Ports.catalogue_writer in needs:
            ports.catalogue_writer = PostgresCatalogueWriter(database)
        if Ports.trackers in needs:
            tracked = settings.mlflow.uri is not None
            ports.trackers = PostgresTrackers(database, worker, settings.mlflow.spool) if tracked else NotTracked()
        if Ports.prompts in needs:
            ports.prompts = read_prompts(settings.prompts)
        if Ports.rebuilds in needs:
            ports.rebuilds = PostgresRebuildCatalogue(database)
        if Ports.children in needs:
            ports.children = PostgresChildren(database, ChildSummary)
        if Ports.trials in needs:
            ports.trials = PostgresTrials(database, SeenTrial, Evaluation)
        if Ports.optimiser in needs:
            ports.optimiser = OptunaHere()
        if Ports.judgements in needs:
            ports.judgements = judgements = PostgresJudgements(database)
            exits.push_async_callback(judgements.close)
        if needs & {Ports.corpora, Ports.datasets, Ports.examples}:
            tables = IsolatedTableReader(settings.parser)
            exits.push_async_callback(tables.close)
            if Ports.corpora in needs:
                ports.corpora = tables
            if Ports.datasets in needs:
                ports.datasets = tables
            if Ports.examples in needs:
                ports.examples = tables
        if Ports.doubts in needs:
            ports.doubts = PostgresDoubts(database, rebuild=settings.index.rebuild)
        if Ports.index in needs:
            ports.index = index = _index(settings.index)
            restore_watch = RestoreWatch(PostgresDoubts(database, rebuild=settings.index.rebuild), index)
            exits.push_async_callback(index.close)
            answers.append(lambda: patiently(index.check, event="index.away"))
        if Ports.sparse in needs:
            with _group("cpu", "a worker that encodes texts"):
                import kiwipiepy  # noqa: F401 - missed here, not in the process that loads it

                from infra.analysis.sparse import IsolatedSparseEncoder
            ports.sparse = sparse = IsolatedSparseEncoder(kiwi, settings.analysis)
            exits.push_async_callback(sparse.close)
            warm.append(sparse.warm)
        if Ports.morphemes in needs:
            ports.morphemes = morphemes = IsolatedMorphemes(kiwi, settings.analysis)
            exits.push_async_callback(morphemes.close)
        if Ports.scorer in needs:
            with _group("cpu", "a worker that scores answers"):
                import sacrebleu  # noqa: F401 - missed here, not in the process that loads it
            ports.scorer = scorer = IsolatedScorer(settings.analysis)
            exits.push_async_callback(scorer.close)
        if Ports.long_documents in needs:
            ports.long_documents = LongDocumentTurns(settings.parser.processes)
        if Ports.parser in needs:
            with _group("cpu", "a worker that reads documents"):
                from infra.documents.parser import IsolatedDocumentParser
            ports.parser = parser = IsolatedDocumentParser(settings.parser)
            exits.push_async_callback(parser.close)
        models = settings.models
        rows = [row for row in models if serves is None or row.name in serves]
        chats: dict[str, TextModel] = {}
        if needs & {Ports.answerers, Ports.text_models}:
            for row in rows:
                if row.can("chat"):
                    from infra.engines.open import open_text_model

                    chats[row.name] = chat = open_text_model(await _here(row, settings))
                    exits.push_async_callback(chat.close)
                    await chat.warm()
                    watches.append(chat.watch)
                    if (room := room_of(chat)) is not None:
                        rooms[row.name] = room
        if Ports.text_models in needs:
            ports.text_models = Served(chats, _name(models.default("chat")))
        if Ports.answerers in needs:
            prompts = read_prompts(settings.prompts)
            answerers: dict[str, Answerer] = {
                name: _answerer(chat, prompts, settings.generator) for name, chat in chats.items()
            }
            extractive = [row.name for row in rows if row.can("answers") and row.name not in chats]
            if extractive:
                quoting = _extractive(settings.analysis, kiwi)
                exits.push_async_callback(quoting.close)
                warm.append(quoting.warm)
                answerers |= dict.fromkeys(extractive, quoting)
            ports.answerers = Served(answerers, _name(models.default("answers")))
        # One thread for all models: they share the device.
        thread = ThreadPoolExecutor(1, thread_name_prefix="models")
        exits.callback(thread.shutdown, wait=False, cancel_futures=True)
        vectors = [row for row in rows if row.can("embeddings")] if Ports.embedders in needs else []
        embedder: Embedder | None = None
        if Ports.embedder in needs or any(isinstance(row, CollectionEmbedder) for row in vectors):
            # A model that runs in this process is loaded only in the pool `gpu`; one behind an address serves all.
            here = Pool.GPU in pools or settings.embedder.engine == "openai" or bool(vectors)
            cache = PostgresEmbeddingCache(database)
            embedder = opened = open_embedder(settings.embedder, cache, thread) if here else None
            if opened is not None:
                exits.push_async_callback(opened.close)
            if Ports.embedder in needs:
                ports.embedder = embedder
        if Ports.embedders in needs:
            embedders: dict[str, Embedder] = {}
            for row in vectors:
                if isinstance(row, OpenAIModel):
                    from infra.engines.open import open_vectors

                    embedders[row.name] = endpoint = open_vectors(row)
                    exits.push_async_callback(endpoint.close)
                elif embedder is not None:
                    embedders[row.name] = embedder
            ports.embedders = Served(embedders, _name(models.default("embeddings")))
        if Ports.reranker in needs:
            ranking = models.default("rerank")
            ranking = None if ranking is None else await _here(ranking, settings)
            ports.reranker = reranker = open_reranker(settings.reranker, ranking, thread)
            if reranker is not None:
                exits.push_async_callback(reranker.close)
        yield Opened(ports, answers, lambda: _each(warm), watches, rooms, restore_watch, stopping)


async def _here(row: ModelSpec, settings: AdapterSettings) -> ModelSpec:
    """The row, its weights fetched if they are in object storage."""
    return await fetched(row, settings.blobs, settings.weights) if isinstance(row, LocalModel) else row


async def _each(works: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    for work in works:
        await work()


def _index(settings: IndexSettings) -> "EdgeIndex | QdrantIndex":
    address = urlsplit(settings.url)
    if address.scheme == "edge":
        with _group("embedded", f"WELIP_INDEX_URL={settings.url}"):
            from infra.vectors.edge import EdgeIndex
        return EdgeIndex(Path(address.netloc + address.path))
    with _group("cpu", f"WELIP_INDEX_URL={settings.url}"):
        from infra.vectors.server import QdrantIndex
    return QdrantIndex(settings.url, settings.api_key.get_secret_value() if settings.api_key else None)


def _answerer(model: TextModel, prompts: Prompts, settings: GeneratorSettings) -> Answerer:
    from consumers.stages.inference.answering import ModelAnswerer

    language = None if settings.prompt == "auto" else settings.prompt
    return ModelAnswerer(model, prompts, language=language, passage_chars=settings.passage_chars)


def _extractive(settings: AnalysisSettings, kiwi: ForkServer) -> IsolatedAnswerer:
    with _group("cpu", "WELIP_GENERATOR=extractive"):
        import kiwipiepy  # noqa: F401 - missed here, not in the process that loads it
    return IsolatedAnswerer(kiwi, settings)


def _trainer(settings: AdapterSettings) -> TrainingProcess:
    if settings.kubeflow.runtime is None:
        return TrainingProcess(settings.training, settings.blobs, settings.weights)
    return TrainJobs(settings.training, settings.blobs, settings.weights, settings.kubeflow)


def _name(row: ModelSpec | None) -> str | None:
    return None if row is None else row.name


@contextmanager
def _group(name: str, who: str) -> Iterator[None]:
    """Say which package group an import needs, and `who` needs it."""
    try:
        yield
    except ImportError as error:
        raise DependencyMissing(f"{who} needs the `{name}` group ({error}): pip install 'welip[{name}]'") from error
