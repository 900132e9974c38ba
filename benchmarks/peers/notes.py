"""When jobs started and when their results were stored: each worker process appends to its own file.

One system call writes a line, so it outlives `kill -9` and costs a job a few microseconds, the same for every queue.
All processes share one machine, and so one clock.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

STARTS_WITHIN_S = 90

_files: dict[int, int] = {}


def started(key: str) -> None:
    """Called in a worker when the job's own code begins."""
    _write(b"s", key)


def done(key: str) -> None:
    """Called in a worker when the job's result has been stored."""
    _write(b"d", key)


def _write(what: bytes, key: str) -> None:
    at = time.time()
    pid = os.getpid()  # a pool may have forked since the last note
    if pid not in _files:
        path = Path(os.environ["PEERS_NOTES"], f"{pid}.notes")
        _files[pid] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(_files[pid], b"%s %.6f %s\n" % (what, at, key.encode()))


class Notes:
    """For the benchmark: reads what the workers wrote into a folder. Times are seconds since the Unix epoch."""

    def __init__(self, folder: Path, alive: Callable[[], bool]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._alive = alive
        self.started: dict[str, float] = {}
        self.done: dict[str, float] = {}
        self.times_done: Counter[str] = Counter()
        self.where: dict[str, int] = {}
        """The process that started the job last."""
        self._read: dict[Path, int] = {}

    @property
    def writers(self) -> int:
        """How many processes have run a job."""
        return len(self._read)

    def read(self) -> None:
        """Read new notes. For a job that runs twice, the first start and the first end count."""
        for path in self.folder.glob("*.notes"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                lines = file.readlines()
            if lines and not lines[-1].endswith(b"\n"):
                lines.pop()
            self._read[path] = self._read.get(path, 0) + sum(map(len, lines))
            for line in lines:
                what, at, key = line.decode().split()
                if what == "s":
                    self.started[key] = min(float(at), self.started.get(key, float(at)))
                    self.where[key] = int(path.stem)
                else:
                    self.done[key] = min(float(at), self.done.get(key, float(at)))
                    self.times_done[key] += 1

    def wait(self, keys: Collection[str], *, within_s: float) -> int:
        """Wait until all jobs are done, or until `within_s` seconds after the first start; returns how many are not.

        Raises `RuntimeError` when none starts within 90 s, or when no worker is left.
        """
        left = set(keys)
        began = time.time()
        first: float | None = None
        while True:
            self.read()
            left.difference_update(self.done)
            if not left:
                return 0
            if first is None:
                first = min((self.started[key] for key in keys if key in self.started), default=None)
            if first is None and time.time() > began + STARTS_WITHIN_S:
                raise RuntimeError(f"no job started within {STARTS_WITHIN_S} s")
            if first is not None and time.time() > first + within_s:
                return len(left)
            if not self._alive():
                raise RuntimeError("its workers ended by themselves")
            time.sleep(0.1)

    def seconds(self, keys: Collection[str]) -> float:
        """Seconds from the first start to the last end of these jobs so far."""
        ends = [self.done[key] for key in keys if key in self.done]
        return max(ends) - min(self.started[key] for key in keys if key in self.started)
