"""The stage of `training` that trains: a process of its own does, and this follows it, stores its checkpoints and packs
what it leaves.
"""

import asyncio
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from pathlib import Path
from typing import Final

from consumers.stages.context import StageJob
from consumers.stages.patience import patient
from consumers.stages.pieces import fetched, pieces
from consumers.stages.ports import Ports, needs
from consumers.stages.training.checkpoints import Checkpoints, Manifest
from consumers.stages.training.choosing import plan_of
from consumers.stages.training.curve import Curve
from consumers.stages.training.judging import Beaten, judge
from consumers.stages.training.packing import pack
from consumers.stages.training.pausing import stopped_when_paused
from consumers.stages.training.remarks import SENTENCES, of_lengths
from consumers.stages.training.saving import Saving
from consumers.stages.training.tokenised import TokenisedExamples
from consumers.stages.training.trainable import Base, base_of
from schemas.errors import TrainingBroke, TrainingFailed
from schemas.ids import shown
from schemas.kinds.training import Export, TrainingInput, TrainingMetrics, TrainingResult
from schemas.kinds.training.carries import Prepared, Trained
from schemas.kinds.training.plan import (
    Begun,
    Counted,
    Ended,
    Failed,
    Saved,
    Stepped,
    Stopped,
    Tokenised,
    TrainingPlan,
)
from schemas.outcomes import UNTIL_RESUMED, Fail, Next, Outcome, Snooze
from schemas.remarks import Remark, told

NEEDS: Final = needs(
    Ports.blobs,
    Ports.expiry,
    Ports.files,
    Ports.optimiser,
    Ports.steering,
    Ports.tracker,
    Ports.trainer,
    Ports.trials,
)

PURPOSE: Final = "fine-tune-results"
Job = StageJob[TrainingInput, Prepared]


async def run(job: Job, ports: Ports) -> Outcome:
    """Go on from the last checkpoint, or begin; a worker that stops saves one more and gives the job back, as it does
    when the job is paused.

    Where memory runs out, half of the examples are taken at a time, once. Raises `TrainingFailed` with its code,
    `TrainingBroke`, `StorageFull`, `InvalidInput` (`nodes_unavailable`), and `DependencyMissing` where this machine
    cannot train.
    """
    base = base_of(job.input, ports.deployment.models)
    if job.input.nodes is not None:
        ports.trainer.check(job.input.nodes)
    if await ports.steering.paused(job.id):
        return Snooze(UNTIL_RESUMED)
    if not await ports.trainer.ready():
        await job.report(0, 0, "making the environment of training, once: it takes minutes")
        await ports.trainer.prepare()
    async with ports.trainer.workspace() as folder:
        base = await ports.trainer.here(base)
        await job.report(0, 0, "fetching the examples")
        train, held_out = await fetched(ports.blobs, job.carry.train, folder / "train.jsonl"), None
        if job.carry.validation is not None:
            held_out = await fetched(ports.blobs, job.carry.validation, folder / "validation.jsonl")
        shas = train, held_out
        tokenised = TokenisedExamples(ports.blobs, ports.expiry, job.tenant, job.input, base, shas)
        smaller: int | None = None
        while True:
            one = _Run(job, ports, base, folder, tokenised, smaller)
            try:
                last = await one.run()
            except Beaten as beaten:
                return beaten.outcome
            fewer = one.begun.chosen.device_batch_size // 2 if one.begun is not None else 0
            if isinstance(last, Failed) and last.code == "out_of_memory" and smaller is None and fewer:
                smaller = fewer
                continue
            return await one.outcome(last)


class _Run:
    """One run of the process."""

    def __init__(
        self,
        job: Job,
        ports: Ports,
        base: Base,
        folder: Path,
        tokenised: TokenisedExamples,
        device_batch_size: int | None,
    ) -> None:
        self._job = job
        self._ports = ports
        self._base = base
        self._folder = folder
        self._tokenised = tokenised
        self._device_batch_size = device_batch_size
        self._curve = Curve(job, ports.tracker)
        self._root = f"{job.tenant}/jobs/{job.id.hex}/checkpoints"
        self._checkpoints = Checkpoints(ports.blobs, self._root, job.epoch)
        self._from: Manifest | None = None
        self._data = job.carry.data.model_copy()
        self._remarks = list(job.carry.remarks)
        self._before: float | None = None
        self._newest: Path | None = None
        self.begun: Begun | None = None

    async def run(self) -> Ended | Stopped | Failed:
        """Until the process has ended, and what it saved is stored if others have to go on from there."""
        resume = self._folder / ("resume" if self._device_batch_size is None else "resume-smaller")
        self._from, damaged = await self._checkpoints.restore(resume)
        self._remarks += damaged
        if self._device_batch_size is not None:
            step = self._from.step if self._from else 0
            self._remarks.append(Remark(sentence="memory", values={"count": self._device_batch_size, "step": step}))
        if self._from is not None:
            self._before, self._newest = self._from.validation_loss_before, resume
        plan = plan_of(
            self._job.input,
            self._base,
            self._job.carry.data,
            folder=self._folder,
            validation=self._job.carry.validation is not None,
            resume=resume if self._from is not None else None,
            tokenised=await self._tokenised.fetch(self._folder / "tokenised.zip"),
            device_batch_size=self._device_batch_size,
        ).model_copy(update={"name": shown("job", self._job.id)})
        await self._job.report(0, 0, "loading the model")
        return await self._follow(plan)

    async def outcome(self, last: Ended | Stopped | Failed) -> Outcome:
        """What the job becomes."""
        match last:
            case Stopped():
                paused = await patient(lambda: self._ports.steering.paused(self._job.id))
                return Snooze(UNTIL_RESUMED if paused else timedelta(0))
            case Ended():
                carry = self._job.carry
                leftovers = [self._root, carry.train, *([carry.validation] if carry.validation else [])]
                # Removed by the next stage: until this one is recorded, its checkpoints may be needed again.
                result = await self._result(last)
                return Next("report", Trained(result=result, leftovers=leftovers, remarks=self._remarks))
            case Failed(retryable=True):
                raise TrainingBroke(last.message, code=last.code)
            case Failed():
                error = TrainingFailed(last.message, code=last.code)
                if self._newest is None or self.begun is None:
                    raise error
                # The weights of the last checkpoint are good: their owner may want them.
                return Fail(error, {"adapter": await self._packed(self._newest)})

    async def _follow(self, plan: TrainingPlan) -> Ended | Stopped | Failed:
        last: Ended | Stopped | Failed | None = None
        async with AsyncExitStack() as exits:
            saving = await exits.enter_async_context(Saving(self._store))
            stop_file = Path(plan.stop_file)
            await exits.enter_async_context(stopped_when_paused(self._ports.steering, self._job.id, stop_file))
            frames = await exits.enter_async_context(aclosing(self._ports.trainer.run(plan)))
            async for frame in frames:
                saving.check()
                match frame:
                    case Counted():
                        self._count(frame)
                    case Tokenised():
                        await self._tokenised.keep(Path(frame.file))
                    case Begun():
                        self.begun = frame
                        await self._curve.begin(plan, frame, self._data)
                    case Stepped():
                        if frame.step == 0 and frame.validation_loss is not None:
                            self._before = frame.validation_loss
                        await self._curve.add(frame)
                        await judge(self._job.input, self._job.id, self._ports, frame)
                    case Saved():
                        await saving.offer(frame)
                    case _:
                        last = frame
            await self._curve.end()
            self._newest = saving.newest or self._newest
            if not isinstance(last, Ended):
                await saving.settled()
        assert last is not None  # the port says so
        return last

    def _count(self, frame: Counted) -> None:
        self._data = self._data.model_copy(update=frame.model_dump(exclude={"event"}))
        self._remarks += of_lengths(frame)

    async def _store(self, saved: Saved) -> None:
        manifest = Manifest(
            step=saved.step,
            folder="",
            parts=[],
            seconds=(self._from.seconds if self._from else 0) + saved.seconds,
            resumes=self._resumes,
            validation_loss_before=self._before,
        )
        await self._checkpoints.save(Path(saved.folder), manifest)

    @property
    def _resumes(self) -> int:
        return 0 if self._from is None else self._from.resumes + 1

    async def _result(self, ended: Ended) -> TrainingResult:
        assert self.begun is not None
        await self._job.report(ended.step, ended.step, "storing what was trained")
        adapter = await self._packed(Path(ended.folder))
        metrics_file = await patient(
            lambda: self._ports.files.publish(
                pieces(self._folder / "output" / "metrics.jsonl"),
                "metrics.jsonl",
                PURPOSE,
                content_type="application/x-ndjson",
            )
        )
        await self._curve.attach("metrics.jsonl", metrics_file)
        return TrainingResult(
            adapter=adapter,
            model=None,
            registered=False,
            metrics=TrainingMetrics(
                steps=ended.step,
                epochs=ended.epoch,
                train_loss=ended.train_loss,
                validation_loss_before=self._before,
                validation_loss=ended.validation_loss,
                tokens_per_s=ended.tokens_per_s,
                seconds=(self._from.seconds if self._from else 0) + ended.seconds,
                peak_memory_bytes=ended.peak_memory_bytes,
            ),
            data=self._data,
            settings=self.begun.chosen,
            metrics_file=metrics_file,
            resumes=self._resumes,
            warnings=told(self._remarks, SENTENCES, "en"),
            tracking=self._curve.tracking,
            exports={kind: await self._exported(kind, Path(path)) for kind, path in ended.exports.items()},
        )

    async def _exported(self, kind: Export, made: Path) -> str:
        """An export as a file of the tenant."""
        if kind == "gguf":  # one file
            return await patient(lambda: self._ports.files.publish(pieces(made), made.name, PURPOSE))
        return await self._packed(made, f"{kind}.zip")

    async def _packed(self, folder: Path, name: str | None = None) -> str:
        """The files of a model in a folder, as a file of the tenant."""
        archive = self._folder / "packed.zip"
        base = self._base.name if self._base.in_folder else self._base.weights
        await asyncio.to_thread(pack, folder, archive, base=base)
        name = name or ("weights.zip" if self._job.input.adapter == "full" else "adapter.zip")
        return await patient(
            lambda: self._ports.files.publish(pieces(archive), name, PURPOSE, content_type="application/zip")
        )
