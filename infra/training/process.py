"""The worker's side of training: starts the process that trains, passes on what it tells, and ends it."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final, TypeVar

import structlog
from pydantic import ValidationError

from infra.local import training
from infra.settings import BlobsSettings, WeightsSettings
from infra.training import launching
from infra.training.settings import TrainingSettings
from infra.weights import fetched
from schemas.errors import InvalidInput, TrainingBroke
from schemas.kinds.training.plan import FRAME, Ended, Failed, Frame, Stopped, TrainingPlan
from schemas.models import LocalModel

log = structlog.get_logger(__name__)
Base = TypeVar("Base", bound=LocalModel)

PREFIX: Final = "training-"
LOCK: Final = "lock"
LONGEST_FRAME: Final = 1024 * 1024
ENDS_WITHIN_S: Final = 60
"""How long the process may live after its last word."""
LAST_WORDS: Final = 4_000
"""Bytes of what it wrote to its log that are kept of a process that died."""


class TrainingProcess:
    """Implements `Trainer`. `stop` is for the worker that is told to end."""

    def __init__(self, settings: TrainingSettings, blobs: BlobsSettings, weights: WeightsSettings) -> None:
        self._settings = settings
        self._blobs = blobs
        self._weights = weights
        # As it is before engines are loaded into this process: they set variables that suit their own libraries, such
        # as OMP_WAIT_POLICY, and a training is to run as it would by itself.
        self._environment = training.environment()
        self._stopping = False
        self._stop_files: set[Path] = set()

    def stop(self) -> None:
        """Let what trains now save a checkpoint and end; what begins later ends after its first step."""
        self._stopping = True
        for file in self._stop_files:
            file.touch()

    @asynccontextmanager
    async def workspace(self) -> AsyncIterator[Path]:
        """An empty folder, removed at the end; what workers left that were killed is removed first."""
        folder, lock = await asyncio.to_thread(_made, self._settings.folder)
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder.parent, ignore_errors=True)
            lock.close()

    def check(self, nodes: int) -> None:
        """As `Trainer` says."""
        here = self._settings.machines
        if nodes != here:
            why = f"a training has {here} {'node' if here == 1 else 'nodes'} here, not {nodes}: leave out `nodes`"
            remedy = "let workers of the pool `train` use a cluster with Kubeflow Trainer (WELIP_KUBEFLOW_RUNTIME)"
            raise InvalidInput(f"{why}, or {remedy}", code="nodes_unavailable", field="input.nodes")

    async def ready(self) -> bool:
        """Whether there is a Python with what training needs."""
        return launching.interpreter(self._settings) is not None

    async def prepare(self) -> None:
        """Make the environment. Raises `DependencyMissing`."""
        await asyncio.to_thread(training.install)

    async def here(self, base: Base) -> Base:
        """The model with its weights fetched, if they are in object storage."""
        found = await fetched(base, self._blobs, self._weights)
        assert isinstance(found, type(base))
        return found

    async def run(self, plan: TrainingPlan) -> AsyncGenerator[Frame]:
        """As `Trainer` says."""
        stop_file, log_file = Path(plan.stop_file), Path(plan.output) / "log.txt"
        self._stop_files.add(stop_file)
        process = await self._start(plan, log_file)
        last: Frame | None = None
        try:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                with contextlib.suppress(ValidationError):  # a library prints, too
                    last = FRAME.validate_json(line)
                    yield last
                    if isinstance(last, Ended | Stopped | Failed):
                        return
            status = await process.wait()
            if status == -signal.SIGKILL:
                # Nobody here kills it: the kernel does when the machine's memory is used up.
                yield Failed(code="out_of_memory", message="the machine's memory ran out, and training was killed")
                return
            log.error("training.died", status=status, said=tail(log_file))
            raise TrainingBroke(f"the process that trains died (status {status}); see the worker's log")
        finally:
            self._stop_files.discard(stop_file)
            await _end(process, gently=isinstance(last, Ended | Stopped | Failed))

    async def _start(self, plan: TrainingPlan, log_file: Path) -> asyncio.subprocess.Process:
        def written() -> list[str]:
            output = Path(plan.output)
            output.mkdir(exist_ok=True)
            file = output / "plan.json"
            file.write_text(plan.model_dump_json(), encoding="utf-8")
            if self._stopping:
                Path(plan.stop_file).touch()
            python = launching.interpreter(self._settings)
            assert python is not None  # the stage asked whether all is ready
            return launching.command(python, self._settings, file)

        command = await asyncio.to_thread(written)
        with log_file.open("wb") as log_end:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log_end,
                env=self._environment,
                start_new_session=True,
                limit=LONGEST_FRAME,
            )


async def _end(process: asyncio.subprocess.Process, *, gently: bool) -> None:
    """Kill the process and all that it started, at once or when it has had time to end by itself."""
    if gently:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), ENDS_WITHIN_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # What torchrun starts is in groups of its own; each ends as if its worker were gone.
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


def _made(under: Path) -> tuple[Path, IO[str]]:
    """A folder of this process, with the lock that tells others so; the kernel releases it when the process dies."""
    under.mkdir(parents=True, exist_ok=True)
    with (under / LOCK).open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # a folder that is new is not locked yet
        for left in under.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError), (left / LOCK).open("a") as theirs:  # it may vanish at this moment
                fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
        mine = Path(tempfile.mkdtemp(prefix=PREFIX, dir=under.resolve()))
        lock = (mine / LOCK).open("a")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = mine / "work"
    folder.mkdir()
    return folder, lock


def tail(file: Path) -> str:
    """The end of a log; empty without one."""
    if not file.exists():
        return ""
    with file.open("rb") as read:
        read.seek(max(0, file.stat().st_size - LAST_WORDS))
        return read.read().decode(errors="replace")
