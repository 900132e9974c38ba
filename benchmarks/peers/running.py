"""A system under measurement: its worker processes and its client, each started as its users would start them."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.peers.notes import Notes
from benchmarks.peers.stores import Store
from benchmarks.peers.systems import CONCURRENCY, SILENCE_S, System

ROOT = Path(__file__).parents[2]
WORKERS = 2
CLIENT_WITHIN_S = 120

Workers = list["subprocess.Popen[bytes]"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A system with its environment, its store, and a folder for its log and notes."""

    system: System
    python: Path
    store: Store
    folder: Path

    @property
    def log(self) -> Path:
        """The file with the output of its processes."""
        return self.folder / f"{self.system.name}.log"

    def empty(self) -> None:
        """Remove the jobs of the previous measurement."""
        self.store.empty()
        if self.system.schema:
            self._client("prepare")

    def submit_many(self, name: str, count: int, seconds: float) -> dict[str, float]:
        """Submit jobs that take `seconds`; returns when each was sent, by its key."""
        return {key: at for at, key in self._client("many", name, str(count), str(seconds))}

    def load(self, name: str, per_second: int, seconds: float) -> dict[str, float]:
        """Submit no-op jobs at a fixed rate; returns when each was sent, by its key."""
        return {key: at for at, key in self._client("load", name, str(per_second), str(seconds))}

    @contextlib.contextmanager
    def workers(self) -> Iterator[tuple[Workers, Notes]]:
        """Two worker processes, and what they note."""
        running: Workers = []
        folders = (self.folder / self.system.name / str(n) for n in itertools.count())
        notes = Notes(
            next(folder for folder in folders if not folder.exists()),
            alive=lambda: any(worker.poll() is None for worker in running),
        )
        try:
            for n in range(WORKERS):
                env = {name: value.replace("{worker}", str(n)) for name, value in self._env().items()}
                running.append(self._start(*self.system.worker, PEERS_NOTES=str(notes.folder), **env))
            yield running, notes
        finally:
            for worker in running:
                if self.system.grace_s:
                    worker.terminate()
            for worker in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(self.system.grace_s)
                kill(worker)

    def _env(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "PEERS_CONCURRENCY": str(CONCURRENCY),
            "PEERS_SILENCE_S": str(SILENCE_S),
            **self.store.env(),
            **self.system.env,
        }

    def _start(self, *command: str, **env: str) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [self.python, "-m", *command],
                cwd=ROOT,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C reaches only us, and we end them
            )

    def _client(self, mode: str, *given: str) -> list[tuple[float, str]]:
        # Through a file: on one machine, pieces of long answers that came through a pipe were missing.
        answer = self.folder / "client.json"
        command = [str(self.python), "-m", "benchmarks.peers.client", str(answer), self.system.queue, mode, *given]
        with self.log.open("ab") as log:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, **self._env()},
                stdout=log,
                stderr=log,
                check=False,
                timeout=CLIENT_WITHIN_S,
            )
        if done.returncode:
            raise RuntimeError(f"its client failed at `{mode}`")
        found: list[tuple[float, str]] = json.loads(answer.read_bytes())
        return found

    def last_words(self) -> str:
        """The last line of the log with any content."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), f"nothing in {self.log}")


def processes(worker: "subprocess.Popen[bytes]") -> set[int]:
    """The ids of a worker's process and of all processes below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return {worker.pid, *(child.pid for child in psutil.Process(worker.pid).children(recursive=True))}
    return set()


def kill(worker: "subprocess.Popen[bytes]") -> None:
    """`kill -9` a worker with all of its processes, as when its machine or container dies."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(worker.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)  # includes those whose parent has already ended
    worker.wait()
