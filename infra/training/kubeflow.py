"""The worker's side of training where Kubeflow Trainer starts the machines: a TrainJob for each run.

The worker writes the plan to a volume that the nodes see, follows the frames that node 0 writes beside it, and deletes
the TrainJob. Whatever becomes of the worker, the nodes end with the lock that it holds on that volume.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

import structlog
from pydantic import ValidationError

from infra.settings import BlobsSettings, WeightsSettings
from infra.training.cluster import Cluster
from infra.training.join import FRAMES
from infra.training.process import TrainingProcess, tail
from infra.training.settings import KubeflowSettings, TrainingSettings
from infra.training.trainjob import trainjob
from schemas.errors import InvalidInput, JobError, TrainingBroke
from schemas.kinds.training.plan import FRAME, Ended, Failed, Frame, Stopped, TrainingPlan

log = structlog.get_logger(__name__)

LOOKS_EVERY_S: Final = 0.5
"""How often new frames are looked for."""
ASKS_EVERY_S: Final = 5.0
"""How often the cluster is asked whether the TrainJob still runs."""


class TrainJobs(TrainingProcess):
    """Implements `Trainer`: what trains is not on this machine, and needs nothing from it but the volume."""

    def __init__(
        self, settings: TrainingSettings, blobs: BlobsSettings, weights: WeightsSettings, kubeflow: KubeflowSettings
    ) -> None:
        super().__init__(settings, blobs, weights)
        self._kubeflow = kubeflow
        self._cluster = Cluster(kubeflow)

    def check(self, nodes: int) -> None:
        """As `Trainer` says."""
        most = self._kubeflow.nodes
        if nodes > most:
            why = f"a training has {most} nodes at most here (WELIP_KUBEFLOW_NODES), not {nodes}"
            raise InvalidInput(why, code="nodes_unavailable", field="input.nodes")

    async def ready(self) -> bool:
        """The image of the nodes has all that training needs."""
        return True

    async def prepare(self) -> None:
        """Nothing: `ready` says so."""

    async def run(self, plan: TrainingPlan) -> AsyncGenerator[Frame]:
        """As `Trainer` says; also raises what `Cluster` raises."""
        job = plan.name.removeprefix("job_")
        name = f"welip-{job}-{secrets.token_hex(3)}"  # 45 characters; with what is put behind it a pod may have 63
        folder = Path(plan.output) / name
        stop_file = Path(plan.stop_file)
        self._stop_files.add(stop_file)
        try:
            await asyncio.to_thread(_write, plan, folder, stopped=self._stopping)
            await self._cluster.delete_all(job)
            body = trainjob(name, job, folder / "plan.json", plan.nodes or 1, self._settings, self._kubeflow)
            await self._cluster.create(body)
            log.info("trainjob.made", name=name, nodes=plan.nodes or 1)
            async with aclosing(self._frames(name, folder)) as frames:
                async for frame in frames:
                    yield frame
                    if isinstance(frame, Ended | Stopped | Failed):
                        return
        finally:
            self._stop_files.discard(stop_file)
            await self._delete(name)

    async def _frames(self, name: str, folder: Path) -> AsyncGenerator[Frame]:
        """What node 0 tells. Raises `TrainingBroke` when the TrainJob ended without a last word."""
        told = _Lines(folder / FRAMES)
        asked = time.monotonic()
        ended: str | None = None
        while True:
            for line in await asyncio.to_thread(told.more):
                with suppress(ValidationError):  # a library prints, too
                    yield FRAME.validate_json(line)
            if ended is not None:
                log.error("training.died", status=ended, said=await asyncio.to_thread(tail, folder / "log-0.txt"))
                raise TrainingBroke(f"the nodes ended without a result ({ended}); see the worker's log")
            if time.monotonic() - asked >= ASKS_EVERY_S:
                asked = time.monotonic()
                ended = await self._end(name)
            else:
                await asyncio.sleep(LOOKS_EVERY_S)

    async def _end(self, name: str) -> str | None:
        """How the TrainJob ended. The nodes go on while the cluster's API is away, so that is no end."""
        try:
            return await self._cluster.end(name)
        except JobError as error:
            log.warning("trainjob.unseen", name=name, error=str(error))
            return None

    async def _delete(self, name: str) -> None:
        """The nodes leave by themselves where this fails, and the next worker of the job deletes what is left."""
        try:
            await self._cluster.delete(name)
        except JobError as error:
            log.warning("trainjob.left", name=name, error=str(error))


class _Lines:
    """Whole lines of a file that grows, and may not be there yet."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0

    def more(self) -> list[bytes]:
        """Those that came since the last call."""
        try:
            with self._file.open("rb") as read:
                read.seek(self._at)
                whole = read.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return []
        if not whole:
            return []
        self._at += len(whole) + 1
        return whole.split(b"\n")


def _write(plan: TrainingPlan, folder: Path, *, stopped: bool) -> None:
    folder.mkdir(parents=True)
    if stopped:
        Path(plan.stop_file).touch()
    (folder / "plan.json").write_text(plan.model_dump_json(), encoding="utf-8")
