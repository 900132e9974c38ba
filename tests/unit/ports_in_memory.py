"""The ports of stages, in memory: each does what its protocol says and no more."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from consumers.stages.context import StageJob
from consumers.stages.ports import Deployment, Ports, Served, TextModel
from infra.documents.long_documents import LongDocumentTurns
from infra.prompts.reader import read_prompts
from infra.settings import PromptSettings
from schemas.catalogue import StoredFile
from schemas.kinds.kind import Step
from schemas.kinds.registry import KINDS
from schemas.kinds.shapes import Given, read_carry, read_input, written_carry, written_input
from schemas.models import WITHOUT_MODELS, Models
from schemas.topics import Lane
from tests.unit.catalogue_in_memory import MemoryCatalogue
from tests.unit.index_in_memory import MemoryIndex
from tests.unit.jobs_in_memory import MemoryAnswers, MemoryChildren, MemorySteering, MemoryTracker
from tests.unit.judge_in_memory import MemoryJudgements
from tests.unit.models_in_memory import MemoryAdapters, MemoryAliases
from tests.unit.readers_in_memory import PlainParser, RowsHere, ScorerHere
from tests.unit.storage_in_memory import MemoryBlobs, MemoryExpiry, MemoryFiles
from tests.unit.texts_in_memory import EchoModel, FirstPassage, Kept, LengthEmbedder, WordEncoder, WordMorphemes


@dataclass
class World:
    """All ports of one deployment, and jobs to run in it."""

    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    index: MemoryIndex = field(default_factory=MemoryIndex)
    sparse: WordEncoder = field(default_factory=WordEncoder)
    embedder: LengthEmbedder | None = None
    catalogue: MemoryCatalogue = field(default_factory=MemoryCatalogue)
    children: MemoryChildren = field(default_factory=MemoryChildren)
    files: MemoryFiles = field(init=False)
    reports: list[tuple[int, int, str | None]] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)
    """Of the reports that had some."""
    transcript: Kept = field(default_factory=Kept)
    adapters: MemoryAdapters = field(default_factory=MemoryAdapters)
    answers: MemoryAnswers = field(default_factory=MemoryAnswers)
    tracker: MemoryTracker = field(default_factory=MemoryTracker)
    steering: MemorySteering = field(default_factory=MemorySteering)
    expiry: MemoryExpiry = field(default_factory=MemoryExpiry)
    digest: str = "one"
    text_model: TextModel = field(default_factory=EchoModel)
    judgements: MemoryJudgements = field(default_factory=MemoryJudgements)
    models: Models = WITHOUT_MODELS
    aliases: MemoryAliases = field(default_factory=MemoryAliases)
    long_documents: LongDocumentTurns = field(default_factory=lambda: LongDocumentTurns(2))

    def __post_init__(self) -> None:
        self.files = MemoryFiles(self.blobs)

    @property
    def ports(self) -> Ports:
        embedder = self.embedder.name if self.embedder else None
        ports = Ports(Deployment(embedder=embedder, models=self.models, digest=self.digest))
        ports.adapters = self.adapters
        ports.answers = self.answers
        ports.aliases = self.aliases
        ports.trackers = self.tracker
        ports.steering = self.steering
        ports.expiry = self.expiry
        ports.blobs = self.blobs
        ports.file_store = self.files
        ports.index = self.index
        ports.sparse = self.sparse
        ports.embedder = self.embedder
        ports.reranker = None
        ports.long_documents = self.long_documents
        ports.parser = PlainParser()
        ports.corpora = ports.datasets = ports.examples = RowsHere()
        ports.morphemes = WordMorphemes()
        ports.scorer = ScorerHere()
        ports.answerer = FirstPassage()
        ports.answerers = Served({"default": ports.answerer}, "default")
        ports.text_model = self.text_model
        ports.judgements = self.judgements
        ports.text_models = Served({"default": ports.text_model}, "default")
        if self.embedder is not None:
            ports.vectors = self.embedder
            ports.embedders = Served({"default": ports.vectors}, "default")
        ports.catalogue = ports.catalogue_writer = ports.rebuilds = self.catalogue
        ports.doubts = self.catalogue
        ports.children = self.children
        ports.prompts = read_prompts(PromptSettings())
        return ports

    def upload(self, data: bytes, name: str = "a.txt") -> str:
        file_id = f"file_{uuid4().hex}"
        self.blobs.data[f"t/files/{file_id}"] = data
        self.files.named[file_id] = StoredFile(
            f"t/files/{file_id}", name, "documents", len(data), sha256(data).hexdigest()
        )
        return file_id

    def job(
        self, kind: str, stage: str, input: Given, carry: Given | None = None, *, id: UUID | None = None
    ) -> StageJob[Any, Any]:
        """A job as the executor opens it: its input and carry pass through JSON and the stage's models."""

        async def report(
            done: int, total: int, message: str | None, metrics: Mapping[str, float] | None = None, /
        ) -> None:
            self.reports.append((done, total, message))
            if metrics is not None:
                self.metrics.append(dict(metrics))

        now = datetime.now(UTC)
        step = Step(KINDS[kind], stage)
        return StageJob(
            id=id or uuid4(),
            tenant="t",
            kind=kind,
            stage=stage,
            lane=Lane.INTERACTIVE,
            attempt=1,
            epoch=1,
            rounds=0,
            input=read_input(step, written_input(step, input)),
            carry=read_carry(step, written_carry(step, carry)),
            created_at=now - timedelta(seconds=2),
            started_at=now,
            report=report,
            transcript=self.transcript,
        )

    @staticmethod
    def again(job: StageJob[Any, Any], **changes: Any) -> StageJob[Any, Any]:
        """The job's next try; stage and carry change as when the executor hands it on."""
        step = Step(KINDS[job.kind], changes.get("stage", job.stage))
        if {"stage", "carry"} & set(changes):
            changes["carry"] = read_carry(step, written_carry(step, changes.get("carry")))
        return replace(job, attempt=job.attempt + 1, epoch=job.epoch + 1, **changes)
