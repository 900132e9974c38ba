"""How long a second worker takes to finish the work of a killed one that nobody starts again.

All systems run at the same time: the jobs only sleep, and waiting out one timeout after another would take half an
hour.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.measure import Sizes, warm
from benchmarks.peers.notes import Notes
from benchmarks.peers.running import Peer, Workers, kill, processes
from benchmarks.peers.systems import CONCURRENCY

LATER_S = 15
"""Seconds between no-op jobs after the kill: some queues look for lost work only when other work comes."""

TRIES = 3
"""On a busy machine all jobs may be done before it is seen that half were; then the system gets its jobs again."""


@dataclass(slots=True)
class Patient:
    """A system whose worker is to be killed. `trees` holds the processes of each worker."""

    peer: Peer
    workers: Workers
    notes: Notes
    trees: list[set[int]]
    jobs: dict[str, float] = field(default_factory=dict)
    tries: int = 0
    killed: bool = False
    later: float = 0

    def submit(self, sizes: Sizes) -> None:
        """Submit its jobs."""
        self.tries += 1
        self.jobs = self.peer.submit_many(f"recover{self.tries}", sizes.recover, 1.0)

    @property
    def missed(self) -> bool:
        """Whether all jobs are done although nothing was killed, and another try is allowed."""
        return not self.killed and self.tries < TRIES and all(key in self.notes.done for key in self.jobs)

    def look(self, sizes: Sizes) -> bool:
        """Kill the busier worker when half of the jobs are done; returns whether everything is over."""
        if not self.jobs:
            return False
        self.notes.read()
        done = sum(key in self.notes.done for key in self.jobs)
        if not self.killed and done >= len(self.jobs) // 2:
            self._kill()
        return done == len(self.jobs) or time.time() > min(self.jobs.values()) + sizes.recover_within_s

    def _kill(self) -> None:
        """Kill the busier worker, unless it is just between two jobs."""
        running = [self.notes.where[key] for key in self.notes.started if key not in self.notes.done]
        load = [(sum(process in tree for process in running), n) for n, tree in enumerate(self.trees)]
        jobs, busier = max(load)
        if jobs >= CONCURRENCY // 2:
            kill(self.workers[busier])
            self.killed = True
            self.later = time.time() + LATER_S

    def found(self) -> dict[str, Any]:
        """Seconds from the first start to the last end, None when jobs are unfinished; and how many jobs ended twice.

        Raises `RuntimeError` when the worker survived.
        """
        if not self.killed:
            raise RuntimeError("no worker could be killed in the middle of its jobs")
        undone = [key for key in self.jobs if key not in self.notes.done]
        return {
            "recovered_s": None if undone else self.notes.seconds(self.jobs),
            "undone": len(undone),
            "twice": sum(self.notes.times_done[key] > 1 for key in self.jobs),
        }


def recover(
    peers: Sequence[Peer], sizes: Sizes, say: Callable[[str], None], failed: Callable[[Peer, Exception], None]
) -> dict[str, dict[str, Any]]:
    """Each system's figures, by the system's name."""
    patients: list[Patient] = []
    with contextlib.ExitStack() as running:
        for peer in peers:
            with contextlib.ExitStack() as mine:
                try:
                    mine.enter_context(peer.store.serving())
                    peer.empty()
                    workers, notes = mine.enter_context(peer.workers())
                    warm(peer, notes)
                except Exception as error:  # noqa: BLE001 - a peer that does not work must not end the measurement
                    failed(peer, error)
                    continue
                running.push(mine.pop_all())
            patients.append(Patient(peer, workers, notes, [processes(worker) for worker in workers]))
        say(f"{len(patients)} systems have their workers; one of each is killed when half of its jobs are done")
        found: dict[str, dict[str, Any]] = {}
        with ThreadPoolExecutor(1) as client:  # one system after another, while the first ones' jobs already run
            submissions = {patient.peer.system.name: client.submit(patient.submit, sizes) for patient in patients}
            waiting = list(patients)
            while waiting:
                for patient in list(waiting):
                    name = patient.peer.system.name
                    try:
                        if submissions[name].done():
                            submissions[name].result()
                        if not patient.look(sizes):
                            if patient.killed and time.time() > patient.later:
                                patient.later += LATER_S
                                client.submit(patient.peer.submit_many, f"later-{patient.later}", 1, 0)
                            continue
                        if patient.missed:
                            patient.jobs = {}
                            submissions[name] = client.submit(patient.submit, sizes)
                            continue
                        found[name] = patient.found()
                        say(f"{name}: {found[name]}")
                    except Exception as error:  # noqa: BLE001 - as above
                        failed(patient.peer, error)
                    waiting.remove(patient)
                time.sleep(0.1)
        return found
