"""Every try of a probe, written by the workers themselves: what ran, where, and whether twice at a time."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from consumers.stages.context import StageJob

VARIABLE: Final = "WELIP_FAULTS_JOURNAL"


@dataclass(slots=True)
class Try:
    """One run of one stage. Times are the machine's monotonic clock, the same in all its processes.

    `how`: `ended` (the stage returned), `aborted` (it was told to stop), `raised`; None: its process died first.
    `blocks`: it keeps the event loop to itself from here to its end.
    """

    job: UUID
    stage: str
    epoch: int
    attempt: int
    pid: int
    began: float
    over: float | None = None
    how: str | None = None
    blocks: bool = False


@contextmanager
def written(job: StageJob[Any, Any]) -> Iterator[Callable[[str], None]]:
    """A line when the stage begins, and one when it is over. What it yields writes one in between (`blocks`)."""
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def write(what: str) -> None:
        # One short write in append mode is whole, however many processes write.
        line = f"{time.monotonic():.6f} {what} {job.id.hex} {job.stage} {job.epoch} {job.attempt} {os.getpid()}\n"
        os.write(file, line.encode())

    try:
        write("began")
        yield write
        write("ended")
    except asyncio.CancelledError:
        write("aborted")
        raise
    except BaseException:
        write("raised")
        raise
    finally:
        os.close(file)


@dataclass(slots=True)
class Journal:
    """The tries in a file that grows; `read` brings it up to date."""

    path: Path
    tries: list[Try] = field(default_factory=list)
    _open: dict[tuple[str, str, str], Try] = field(default_factory=dict)
    _offset: int = 0

    def read(self) -> "Journal":
        """Take in what was written since the last time."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offset += len(whole)
            for line in whole.decode().splitlines():
                self._take(line)
        return self

    def _take(self, line: str) -> None:
        at, what, job, stage, epoch, attempt, pid = line.split()
        key = (job, epoch, pid)
        if what == "began":
            one = Try(UUID(job), stage, int(epoch), int(attempt), int(pid), float(at))
            self.tries.append(one)
            self._open[key] = one
        elif what == "blocks":
            self._open[key].blocks = True
        else:
            one = self._open.pop(key)
            one.over, one.how = float(at), what

    def running(self, pid: int) -> list[Try]:
        """What the process runs now."""
        return [one for one in self.read()._open.values() if one.pid == pid]

    def by_job(self) -> Mapping[UUID, list[Try]]:
        """Each job's tries in the order they began."""
        found: dict[UUID, list[Try]] = defaultdict(list)
        for one in sorted(self.read().tries, key=lambda t: t.began):
            found[one.job].append(one)
        return found
