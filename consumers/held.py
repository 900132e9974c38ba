"""The jobs that this process holds, shared between its event loop and the heartbeat's thread."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class Abort(StrEnum):
    """Why a running stage is told to stop."""

    LEASE_LOST = "lease_lost"
    CANCELLED = "cancelled"
    STOPPING = "stopping"


@dataclass(slots=True)
class HeldJob:
    """A claimed job. `deadline`: when its lease surely has not ended yet, on this process's monotonic clock."""

    id: UUID
    epoch: int
    deadline: float
    abort: Callable[[Abort], None]
    since: float = field(default_factory=time.monotonic)


class HeldJobs:
    """Thread-safe: the event loop adds and removes, the heartbeat renews and aborts."""

    def __init__(self) -> None:
        self._jobs: dict[UUID, HeldJob] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: HeldJob) -> None:
        """A claim is durable."""
        with self._lock:
            self._jobs[job.id] = job

    def remove(self, job: HeldJob) -> None:
        """The try has ended."""
        with self._lock:
            if self._jobs.get(job.id) is job:
                del self._jobs[job.id]

    def older_than(self, seconds: float) -> list[HeldJob]:
        """Jobs held for longer than `seconds`: only they need a heartbeat."""
        limit = time.monotonic() - seconds
        with self._lock:
            return [job for job in self._jobs.values() if job.since < limit]

    def every(self) -> list[HeldJob]:
        """All of them."""
        with self._lock:
            return list(self._jobs.values())
