"""The ports of stages, in memory: each does what its protocol says and no more."""

import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zlib import crc32

from consumers.stages.context import StageJob
from consumers.stages.ports import ChildSummary, Deployment, KnownAnswer, Ports, Served, TextModel, Transcript
from infra.corpora.examples import read_examples
from infra.corpora.forms import form_of
from infra.corpora.items import read_items
from infra.corpora.rows import read_rows
from infra.documents.long_documents import LongDocumentTurns
from infra.prompts.reader import read_prompts
from infra.settings import PromptSettings
from schemas.adapters import ReadyAdapter
from schemas.catalogue import StoredFile
from schemas.collections import Chunking, FusionSettings, SparseSettings
from schemas.errors import Conflict, DependencyUnavailable, DocumentRefused, EngineRefused, JobError, NotFound
from schemas.filters import Condition
from schemas.kinds.dataset import Form
from schemas.kinds.evaluation.items import Dataset, Item, ItemProblem
from schemas.kinds.indexing import Corpus, DocumentError
from schemas.kinds.indexing.parts import PartDocument
from schemas.kinds.kind import Step
from schemas.kinds.registry import KINDS
from schemas.kinds.shapes import Given, read_carry, read_input, written_carry, written_input
from schemas.kinds.training import Method
from schemas.kinds.training.examples import Example, ExampleProblem
from schemas.lifecycle import JobState
from schemas.models import WITHOUT_MODELS, Models
from schemas.morphemes import Morpheme
from schemas.outcomes import Child
from schemas.promotions import ChampionChanged, Evidence
from schemas.prompts import Wording
from schemas.requester import Requester
from schemas.retrieval import (
    DocumentVersion,
    Embedding,
    GeneratedAnswer,
    Heading,
    IndexName,
    ParsedDocument,
    Passage,
    Point,
    Query,
    SearchQuestion,
    Sentence,
    SparseVector,
    SubmittedText,
)
from schemas.text import Completion, Message, TextDelta, TextOptions
from schemas.topics import Lane
from schemas.tracking import NewRun, run_id
from schemas.watermarks import Change, Watermark
from tests.unit.catalogue_in_memory import MemoryCatalogue
from tests.unit.judge_in_memory import MemoryJudgements


@dataclass
class MemoryBlobs:
    data: dict[str, bytes] = field(default_factory=dict)
    piece: int = 7  # small, so that lines span pieces

    async def put(self, key: str, data: bytes, *, content_type: str = "") -> None:
        self.data[key] = data

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "") -> int:
        self.data[key] = b"".join([chunk async for chunk in chunks])
        return len(self.data[key])

    async def get(self, key: str) -> bytes:
        if key not in self.data:
            raise NotFound(key)
        return self.data[key]

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        data = (await self.get(key))[start:][:length]
        step = max(self.piece, len(data) // 100)
        for at in range(0, len(data), step):
            yield data[at : at + step]

    async def delete(self, prefix: str) -> int:
        gone = [key for key in self.data if key == prefix or key.startswith(f"{prefix}/")]
        for key in gone:
            del self.data[key]
        return len(gone)

    async def check(self) -> None:
        return None


@dataclass
class MemoryFiles:
    """The files of one tenant, all published by one try."""

    blobs: MemoryBlobs
    named: dict[str, StoredFile] = field(default_factory=dict)

    def of(self, tenant: str, job_id: UUID, epoch: int) -> "MemoryFiles":
        return self

    async def publish(
        self,
        stream: AsyncIterator[bytes],
        filename: str,
        purpose: str,
        *,
        content_type: str = "",
        lives_s: float | None = None,
    ) -> str:
        file_id = f"file_{uuid4().hex}"
        size = await self.blobs.put_stream(f"t/files/{file_id}", stream)
        older = [known for known, one in self.named.items() if (one.filename, one.purpose) == (filename, purpose)]
        for known in older:
            del self.named[known]
        self.named[file_id] = StoredFile(
            f"t/files/{file_id}", filename, purpose, size, sha256(self.blobs.data[f"t/files/{file_id}"]).hexdigest()
        )
        return file_id

    async def remove(self, file_id: str) -> None:
        self.named.pop(file_id, None)

    async def find(self, file_id: str) -> StoredFile:
        if file_id not in self.named:
            raise NotFound(file_id, code="file_not_found")
        return self.named[file_id]


@dataclass
class MemoryIndex:
    points: dict[IndexName, dict[str, Point]] = field(default_factory=dict)
    arms: dict[IndexName, tuple[int | None, bool]] = field(default_factory=dict)
    marks: dict[IndexName, Watermark] = field(default_factory=dict)

    async def ensure(self, index: IndexName, *, dimension: int | None, learned: bool = False) -> None:
        if self.arms.setdefault(index, (dimension, learned)) != (dimension, learned):
            raise Conflict(f"{index} has other arms")
        self.points.setdefault(index, {})

    async def upsert(self, index: IndexName, points: Sequence[Point]) -> None:
        self._points(index).update({point.id: point for point in points})
        mark = self.marks.get(index, Watermark())
        self.marks[index] = replace(mark, version=max([mark.version, *(point.version for point in points)]))

    async def prune(self, index: IndexName, documents: Sequence[DocumentVersion], change: Change) -> Watermark | None:
        if index not in self.points:
            return None
        mark = self.marks.get(index, Watermark())
        self.marks[index] = mark.raised(change)
        now = {document.id: document for document in documents}
        held = self.points.get(index, {})
        for point in list(held.values()):
            newest = now.get(point.document_id)
            if newest and point.version < newest.version and point.content_hash != newest.content_hash:
                del held[point.id]
        return mark

    async def mark(self, index: IndexName) -> Watermark | None:
        return self.marks.get(index, Watermark()) if index in self.points else None

    async def highest_generation(self) -> int:
        return max((index.generation for index in self.points), default=0)

    async def search(
        self,
        index: IndexName,
        query: Query,
        *,
        top_k: int,
        fusion: FusionSettings,
        filter: Condition | None = None,
    ) -> list[Passage]:
        found = []
        for p in self._points(index).values():
            score = float(len(set(p.sparse.indices) & set(query.sparse.indices)))
            if score:
                place = (p.document_id, p.id, p.title, p.text, p.start, p.end, score)
                found.append(Passage(*place, metadata=p.metadata, content_hash=p.content_hash))
        return sorted(found, key=lambda passage: -passage.score)[:top_k]

    async def count(self, index: IndexName) -> int:
        return len(self.points.get(index, {}))

    async def drop(self, index: IndexName) -> None:
        self.points.pop(index, None)
        self.arms.pop(index, None)
        self.marks.pop(index, None)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _points(self, index: IndexName) -> dict[str, Point]:
        if index not in self.points:
            raise NotFound(f"no index {index}")
        return self.points[index]


@dataclass
class WordEncoder:
    """Sentences end with a full stop, terms are words."""

    name: str = "words"
    analysed: list[str] = field(default_factory=list)

    async def analyse(
        self, texts: Sequence[str], settings: SparseSettings, chunking: Chunking | None = None, *, by: Requester
    ) -> list[list[Sentence] | DocumentRefused]:
        self.analysed.extend(texts)
        return [
            [
                Sentence(match.start(), match.end(), terms := self._terms(match.group()), len(terms))
                for match in re.finditer(r"[^.\s][^.]*\.?", text)
            ]
            for text in texts
        ]

    def weigh(self, pieces: Iterable[Sequence[int]], settings: SparseSettings) -> SparseVector:
        ids = sorted({term for piece in pieces for term in piece})
        return SparseVector(ids, [1.0] * len(ids))

    async def encode_query(self, text: str, settings: SparseSettings, *, by: Requester) -> SparseVector:
        return self.weigh([self._terms(text)], settings)

    async def warm(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _terms(self, text: str) -> list[int]:
        return [crc32(word.encode()) for word in re.findall(r"\w+", text)]


@dataclass
class LengthEmbedder:
    name: str = "lengths"
    dimension: int = 2
    learned: bool = False
    refuses: str = "\0"
    """Texts that contain this are refused."""

    async def embed_documents(self, texts: Sequence[str]) -> list[Embedding | JobError]:
        return [EngineRefused("too long") if self.refuses in text else await self.embed_query(text) for text in texts]

    async def embed_query(self, text: str) -> Embedding:
        angle = float(len(text) % 7)
        return Embedding([math.cos(angle), math.sin(angle)] + [0.0] * (self.dimension - 2))

    async def close(self) -> None:
        return None


class PlainParser:
    """Reads its input as UTF-8. Lines that begin with `#` are headings."""

    async def parse_file(
        self, path: Path, *, format: str | None, filename: str | None, by: Requester
    ) -> ParsedDocument:
        return self._parse(path.read_text())  # noqa: ASYNC240 - small, in a test

    async def parse_texts(
        self, texts: Sequence[SubmittedText], *, by: Requester
    ) -> list[ParsedDocument | DocumentRefused]:
        made: list[ParsedDocument | DocumentRefused] = []
        for given in texts:
            try:
                made.append(self._parse(given.text))
            except DocumentRefused as error:
                made.append(error)
        return made

    def _parse(self, text: str) -> ParsedDocument:
        if not text.strip():
            raise DocumentRefused("no text", code="document_empty")
        headings = [Heading(m.start(), 1, m[1]) for m in re.finditer(r"^# (.*)$", text, re.MULTILINE)]
        return ParsedDocument(text, None, headings)

    async def close(self) -> None:
        return None


class RowsHere:
    """Reads tables in this process, two rows at a time."""

    async def rows(
        self, path: Path, corpus: Corpus, *, by: Requester
    ) -> AsyncGenerator[tuple[list[PartDocument | DocumentError], int]]:
        with path.open("rb") as file:
            found = read_rows(file, corpus)
            while batch := list(islice(found, 2)):
                yield batch, file.tell()

    async def items(
        self, path: Path, dataset: Dataset, format: str, *, by: Requester
    ) -> AsyncGenerator[list[Item | ItemProblem]]:
        with path.open("rb") as file:
            found = read_items(file, dataset, format)
            while batch := list(islice(found, 2)):
                yield batch

    async def form(self, path: Path, dataset: Dataset, format: str, *, by: Requester) -> Form:
        with path.open("rb") as file:
            return form_of(file, dataset, format)

    async def examples(
        self, path: Path, method: Method, format: str, *, by: Requester
    ) -> AsyncGenerator[tuple[list[Example | ExampleProblem], int]]:
        with path.open("rb") as file:
            found = read_examples(file, method, format)
            while batch := list(islice(found, 2)):
                yield batch, file.tell()


class WordMorphemes:
    """Words are morphemes, and a full stop is a symbol; what contains a NUL cannot be analysed."""

    async def morphemes(self, texts: Sequence[str], *, by: Requester) -> list[list[Morpheme] | DocumentRefused]:
        return [
            DocumentRefused("no text", code="analysis_failed")
            if "\0" in text
            else [Morpheme(word, "SF" if word == "." else "NNG") for word in re.findall(r"[\w,]+|[.]", text)]
            for text in texts
        ]


class FirstPassage:
    name = "first"

    async def answer(
        self,
        question: str,
        passages: Sequence[Passage],
        options: TextOptions,
        *,
        by: Requester,
        transcript: Transcript | None = None,
        wording: Wording = Wording(),  # noqa: B008 - it never changes
    ) -> GeneratedAnswer:
        if not passages:
            return GeneratedAnswer("없음", [], self.name, found=False)
        return GeneratedAnswer(f"{passages[0].text} [1]", passages[:1], self.name)

    async def condense(self, question: str, history: Sequence[Message], options: TextOptions) -> SearchQuestion | None:
        return None

    async def close(self) -> None:
        return None


class EchoModel:
    """Repeats the last message, in two pieces."""

    name = "echo"
    context_length: int | None = None

    async def lengths(self, texts: Sequence[str]) -> list[int] | None:
        return None

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Completion:
        return Completion(messages[-1].content, "stop", self.name)

    async def stream(self, messages: Sequence[Message], options: TextOptions) -> AsyncGenerator[TextDelta | Completion]:
        whole = await self.complete(messages, options)
        half = len(whole.text) // 2
        yield TextDelta(whole.text[:half])
        yield TextDelta(whole.text[half:])
        yield whole

    async def close(self) -> None:
        return None


@dataclass
class MemoryChildren:
    """The children of one job."""

    summaries: list[ChildSummary] = field(default_factory=list)

    async def results(self, job_id: UUID, round: int | None = None) -> AsyncIterator[ChildSummary]:
        last = max((summary.round for summary in self.summaries), default=1)
        for summary in self.summaries:
            if summary.round == (round or last):
                yield summary

    async def failed(self, job_id: UUID, round: int) -> AsyncIterator[Child]:
        async for one in self.results(job_id, round):
            if one.state is JobState.FAILED and one.error is not None and one.error["retryable"]:
                yield Child(one.kind, one.input, key=one.key)


@dataclass
class MemoryAnswers:
    """Answers as long as the children that gave them are there."""

    results: dict[UUID, KnownAnswer] = field(default_factory=dict)
    known: dict[tuple[str, bytes], UUID] = field(default_factory=dict)

    async def find(self, tenant: str, addresses: Sequence[bytes]) -> dict[bytes, KnownAnswer]:
        jobs = {address: self.known.get((tenant, address)) for address in addresses}
        return {address: self.results[job] for address, job in jobs.items() if job in self.results}

    async def remember(self, tenant: str, answers: Mapping[bytes, UUID]) -> None:
        self.known |= {(tenant, address): job for address, job in answers.items()}


@dataclass
class MemoryTracker:
    """The runs of one job, by their keys; `off`: the deployment has no tracker."""

    runs: dict[str, NewRun] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    """Of each run and step; the first values of a step hold."""
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    off: bool = False
    away: bool = False

    def of(self, job_id: UUID, epoch: int) -> "MemoryTracker":
        return self

    async def begin(self, run: NewRun) -> UUID | None:
        self._reached()
        if self.off:
            return None
        assert run.parent is None or run.parent in self.runs
        self.runs.setdefault(run.key, run)
        return run_id(UUID(int=0), run.key)

    async def log(self, key: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        self._reached()
        assert key in self.runs
        self.metrics.setdefault(key, {}).update(metrics)
        at = self.curves.setdefault((key, step), {})
        at |= {name: value for name, value in metrics.items() if name not in at}

    async def attach(self, key: str, name: str, file: str) -> None:
        self._reached()
        assert key in self.runs
        self.files[key, name] = file

    def _reached(self) -> None:
        if self.away:
            raise DependencyUnavailable("away")


@dataclass
class MemorySteering:
    """What the owner of every job asks."""

    pause: bool = False

    async def paused(self, job_id: UUID) -> bool:
        return self.pause


@dataclass
class MemoryExpiry:
    """When which blob is deleted."""

    after: dict[str, timedelta] = field(default_factory=dict)

    async def expire(self, key: str, after: timedelta) -> None:
        self.after[key] = after


class Kept:
    """A transcript that keeps what it was given, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self) -> None:
        self.said.append("<begin>")

    def write(self, text: str) -> None:
        self.said.append(text)

    async def settle(self, text: str) -> None:
        self.said.append(f"<settled {text}>")


@dataclass
class MemoryAdapters:
    """Adapters by the names that requests give them."""

    there: dict[str, ReadyAdapter] = field(default_factory=dict)
    using: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def ready(self, tenant: str, model: str | None, asked: str) -> AsyncIterator[ReadyAdapter | None]:
        self.using.append(asked)
        yield self.there.get(asked)
        self.using.remove(asked)


@dataclass
class MemoryAliases:
    """The aliases of one tenant, and the promotions of jobs."""

    points_to: dict[str, str] = field(default_factory=dict)
    promoted: dict[UUID | None, Evidence | None] = field(default_factory=dict)

    async def champions(self, tenant: str) -> dict[str, str]:
        return self.points_to

    async def champion(self, tenant: str, name: str) -> str | None:
        return self.points_to.get(name)

    async def candidate(self, tenant: str, name: str, model: str, *, field: str = "model") -> str:
        return model

    async def promote(
        self,
        tenant: str,
        name: str,
        model: str,
        *,
        expected: str | None,
        by: str,
        reason: str | None = None,
        evidence: Evidence | None = None,
        job: UUID | None = None,
    ) -> None:
        if job in self.promoted:
            return
        if self.points_to.get(name) != expected:
            raise ChampionChanged("it points elsewhere")
        self.points_to[name] = model
        self.promoted[job] = evidence


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
