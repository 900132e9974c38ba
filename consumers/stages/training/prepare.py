"""The first stage of `training`: the whole dataset is checked before anything is trained."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Final

from consumers.stages.context import StageJob
from consumers.stages.pieces import pieces, whole
from consumers.stages.ports import Ports, needs
from consumers.stages.tables import SHOWN, opened, unusable
from consumers.stages.training import gating
from consumers.stages.training.held_out import HeldOutQuestions
from consumers.stages.training.judging import too_late
from consumers.stages.training.remarks import of_data
from consumers.stages.training.splitting import Splitter
from consumers.stages.training.trainable import base_of
from schemas.errors import InvalidInput
from schemas.kinds.training import DataReport, TrainingInput
from schemas.kinds.training.carries import Prepared
from schemas.kinds.training.examples import MAX_DATASET_BYTES, Example, ExampleProblem
from schemas.lineage import SourceFile
from schemas.outcomes import Next, Outcome

NEEDS: Final = needs(Ports.aliases, Ports.blobs, Ports.examples, Ports.files)

PURPOSE: Final = "fine-tune-results"
Job = StageJob[TrainingInput, None]


async def run(job: Job, ports: Ports) -> Outcome:
    """Check every row, and write down what is trained on and what is held out. No tokenizer is needed.

    Raises `InvalidInput` with `dataset_invalid`, which names the rows, `dataset_empty`, `dataset_too_large`,
    `dataset_format_unknown`, what `base_of`, `gating` and the reader raise, and `NotFound` (`file_not_found`).
    """
    request = job.input
    if (late := too_late(request)) is not None:
        return late
    base = base_of(request, ports.deployment.models)
    if request.gate is not None:
        await gating.check(request.gate, job.tenant, base, ports)
    with NamedTemporaryFile() as train, NamedTemporaryFile() as validation:
        split = _Split(request, train, validation)
        if request.validation is not None:
            async for examples in _examples(job, ports, request.validation, "validation"):
                await split.hold_out(examples)
        async for examples in _examples(job, ports, request.dataset, "dataset"):
            await split.divide(examples)
        report = split.report()
        report.dataset = await _source(ports, request.dataset)
        if request.validation is not None:
            report.validation = await _source(ports, request.validation)
        if request.gate is not None:
            await gating.check_questions(request.gate, report.dataset, split.questions, ports)
            if request.gate.asks_held_out:
                report.questions = await ports.files.publish(
                    whole(split.questions.lines()), "held-out.jsonl", PURPOSE, content_type="application/x-ndjson"
                )
        keys = f"{job.folder}/train.jsonl", f"{job.folder}/validation.jsonl" if report.validation_rows else None
        for key, file in zip(keys, (train, validation), strict=True):
            if key is not None:
                file.flush()
                await ports.blobs.put_stream(key, pieces(Path(file.name)), content_type="application/x-ndjson")
    return Next("train", Prepared(train=keys[0], validation=keys[1], data=report, remarks=of_data(report)))


class _Split:
    """Writes examples to the file of those that are trained on, or to that of the held-out ones."""

    def __init__(self, request: TrainingInput, train: IO[bytes], validation: IO[bytes]) -> None:
        share = 0.0 if request.validation is not None else request.validation_share
        self._splitter = Splitter(share, request.hyperparameters.seed)
        self._train, self._validation = train, validation
        self._trained_on = self._held_out = 0
        self._gate = request.gate
        self.questions = HeldOutQuestions()

    async def hold_out(self, examples: list[Example]) -> None:
        """Those of a validation file."""
        await self._held(self._splitter.held_out(examples))

    async def divide(self, examples: list[Example]) -> None:
        """Those of the dataset."""
        kept = self._splitter.kept(examples)
        await self._held([one for one, out in kept if out])
        self._trained_on += await asyncio.to_thread(_write, [one for one, out in kept if not out], self._train)

    def report(self) -> DataReport:
        """What there is. Raises `InvalidInput` (`dataset_empty`) where nothing is left to train on."""
        splitter = self._splitter
        if not self._trained_on:
            why = "nothing is left to train on: every example is held out or in the validation file"
            raise InvalidInput(
                why if self._held_out or splitter.overlapping else "the dataset holds no example",
                code="dataset_empty",
                field="input.dataset",
            )
        return DataReport(
            rows=self._trained_on,
            validation_rows=self._held_out,
            duplicates=splitter.duplicates,
            overlapping=splitter.overlapping,
        )

    async def _held(self, examples: list[Example]) -> None:
        if self._gate is not None and self._gate.asks_held_out:
            self.questions.add(examples)
        self._held_out += await asyncio.to_thread(_write, examples, self._validation)


async def _examples(job: Job, ports: Ports, file_id: str, field: str) -> AsyncIterator[list[Example]]:
    """The examples of a file, some at a time. Raises `InvalidInput` at its end if a row is none."""
    where = f"input.{field}"
    problems: list[ExampleProblem] = []
    wrong = 0
    async with opened(
        ports, file_id, job.input.format, most=MAX_DATASET_BYTES, field=where, format_field="input.format"
    ) as table:
        rows: AsyncGenerator[tuple[list[Example | ExampleProblem], int]] = ports.examples.examples(
            table.path, job.input.method, table.format, by=job.requester
        )
        async with aclosing(rows) as batches:
            async for batch, read in batches:
                found = [row for row in batch if isinstance(row, ExampleProblem)]
                wrong += len(found)
                problems += found[: SHOWN - len(problems)]
                await job.report(read, table.size, f"checking the {field}")
                yield [row for row in batch if isinstance(row, Example)]
    if wrong:
        raise unusable([problem.message for problem in problems], wrong, field=where)


async def _source(ports: Ports, file_id: str) -> SourceFile:
    """What is kept of a file that was read."""
    stored = await ports.files.find(file_id)
    return SourceFile(file=file_id, filename=stored.filename, bytes=stored.size, sha256=stored.sha256)


def _write(examples: list[Example], file: IO[bytes]) -> int:
    file.write(b"".join(example.line() for example in examples))
    return len(examples)
