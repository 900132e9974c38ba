"""A system's turn in a round: preloaded jobs drained, short jobs worked off, loads at fixed rates."""

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.notes import Notes
from benchmarks.peers.running import WORKERS, Peer

RATES = (50, 200, 500)
SHORT_S = 0.1
WARM_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: counts of jobs, seconds of each load, and the most seconds for a drain and a recovery."""

    preloaded: int = 10_000
    short: int = 1_000
    load_s: float = 2
    drain_within_s: float = 10
    recover: int = 200
    recover_within_s: float = 120

    @classmethod
    def quick(cls) -> "Sizes":
        """Sizes for checking that everything works; the figures mean nothing."""
        return cls(preloaded=500, short=100, load_s=1, drain_within_s=5, recover=120, recover_within_s=60)


def turn(peer: Peer, parts: str, sizes: Sizes) -> dict[str, Any]:
    """The figures of one system in one round, for parts `a`, `b` and `c`; None where it could not keep up."""
    found: dict[str, Any] = {}
    left = 0
    with peer.store.serving():
        peer.empty()
        if "a" in parts:
            with peer.store.filling():
                jobs = peer.submit_many("drain", sizes.preloaded, 0)
        with peer.workers() as (_, notes):
            if "a" in parts:
                left = notes.wait(jobs, within_s=sizes.drain_within_s)
                found["jobs_per_s"] = (len(jobs) - left) / notes.seconds(jobs) if left < len(jobs) else 0.0
            if not left:
                found |= _under_way(peer, notes, parts, sizes)
        if left:  # the rest of the drain would be in the way
            peer.empty()
            with peer.workers() as (_, notes):
                found |= _under_way(peer, notes, parts, sizes)
    return found


def _under_way(peer: Peer, notes: Notes, parts: str, sizes: Sizes) -> dict[str, Any]:
    """What is measured while the workers wait for jobs."""
    found: dict[str, Any] = {}
    if "b" in parts or "c" in parts:
        warm(peer, notes)
    if "c" in parts:
        jobs = peer.submit_many("short", sizes.short, SHORT_S)
        left = notes.wait(jobs, within_s=60)
        found["short_s"] = None if left else notes.seconds(jobs)
    if "b" in parts:
        found["latency_ms"] = {}
        for rate in RATES:
            sent = peer.load(f"load{rate}", rate, sizes.load_s)
            left = notes.wait(sent, within_s=sizes.load_s + sizes.drain_within_s)
            found["latency_ms"][str(rate)] = latency(sent, notes.done)
            if left:
                break  # what is left would be in the way of the next load, which is harder still
    return found


def latency(sent: dict[str, float], done: dict[str, float]) -> dict[str, float | None]:
    """p50 and p99 in ms; None where the job of that rank was not done."""
    taken = sorted((done[key] - at) * 1000 if key in done else float("inf") for key, at in sent.items())
    ranks = {"p50": taken[len(taken) // 2], "p99": taken[min(int(len(taken) * 0.99), len(taken) - 1)]}
    return {name: None if value == float("inf") else value for name, value in ranks.items()}


def warm(peer: Peer, notes: Notes) -> None:
    """Wait until both workers run jobs without delay. Raises `RuntimeError` if that takes more than a minute."""
    deadline = time.monotonic() + WARM_WITHIN_S
    n = 0
    while True:
        jobs = peer.submit_many(f"warm{n}", 60, SHORT_S)
        left = notes.wait(jobs, within_s=30)
        if not left and notes.writers >= WORKERS and max(notes.done[key] - at for key, at in jobs.items()) < 2:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"jobs are still delayed {WARM_WITHIN_S} s after the workers' start")
        n += 1
