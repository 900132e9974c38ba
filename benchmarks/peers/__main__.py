"""`python -m benchmarks.peers`: WeLIP beside the queues people use, in one run on one machine.

Prints one table for durable settings and one for default settings; the last line is one JSON object. Every queue gets
its own environment in the cache folder. A queue that cannot be installed or started is left out, and is named.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.peers import tables
from benchmarks.peers.environments import environment
from benchmarks.peers.measure import Sizes, turn
from benchmarks.peers.recovery import recover
from benchmarks.peers.running import Peer
from benchmarks.peers.stores import PostgresStore, RedisServer, RedisStore, Store, WelipStore
from benchmarks.peers.systems import SYSTEMS, System
from benchmarks.processes import Bench
from infra.local.kafka import KafkaServer
from infra.local.postgres import EmbeddedPostgres
from infra.postgres.migrate import migrate
from schemas.errors import JobError

progress = Console(stderr=True, highlight=False, soft_wrap=True)


class Comparison:
    """The systems that can run, their servers, and the results so far."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.sizes = sizes
        self.peers: list[Peer] = []
        self.left_out: dict[str, str] = {}
        self.turns: dict[str, list[dict[str, Any]]] = {}
        self.recovery: dict[str, dict[str, Any]] = {}
        self._folder = folder
        self._exit = contextlib.ExitStack()
        self._servers: dict[str, Any] = {}

    def __enter__(self) -> "Comparison":
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the servers."""
        self._exit.close()

    def admit(self, systems: Iterable[System]) -> None:
        """Install and start what the systems need."""
        for number, system in enumerate(systems):
            try:
                with progress.status(f"{system.name}: installing"):
                    python = environment(system.queue, system.requirements)
                    store = self._store(system, number)
            except (JobError, OSError) as error:
                self.left_out[system.name] = _reason(error)
                say(f"{system.name} is left out: {self.left_out[system.name]}")
                continue
            self.peers.append(Peer(system, python, store, self._folder))

    def leave_out(self, peer: Peer, error: Exception) -> None:
        """Continue without a system that failed."""
        self.left_out[peer.system.name] = f"{_reason(error)}; its log ends: {peer.last_words()}"
        self.peers = [other for other in self.peers if other is not peer]
        say(f"{peer.system.name} is left out: {self.left_out[peer.system.name]}")

    def round(self, parts: str, number: int, of: int) -> None:
        """One turn for each system."""
        for peer in list(self.peers):
            if peer.system.rounds is not None and number > peer.system.rounds:
                continue
            try:
                found = turn(peer, parts, self.sizes)
            except Exception as error:  # noqa: BLE001 - a peer that does not work must not end the measurement
                self.leave_out(peer, error)
                continue
            self.turns.setdefault(peer.system.name, []).append(found)
            say(f"round {number} of {of}, {peer.system.name}: {_shown(found)}")

    def recover(self) -> None:
        """Part (d). Results that a system has already given are kept, even if it fails here."""

        def failed(peer: Peer, error: Exception) -> None:
            self.left_out[f"{peer.system.name}, part (d)"] = _reason(error)
            say(f"{peer.system.name} is left out of part (d): {_reason(error)}")

        self.recovery = recover(self.peers, self.sizes, say, failed)

    def figures(self) -> dict[str, dict[str, Any]]:
        """The results by table and system."""
        return {
            name: {
                peer.system.key: tables.summary(
                    self.turns.get(peer.system.name, []), self.recovery.get(peer.system.name)
                )
                for peer in self.peers
                if name in peer.system.tables
            }
            for name in ("durable", "default")
        }

    def _store(self, system: System, number: int) -> Store:
        match system.store:
            case "redis" | "redis-durable" as kind:
                if kind not in self._servers:
                    server = RedisServer(self._folder / kind, durable=kind == "redis-durable")
                    self._servers[kind] = self._exit.enter_context(server)
                return RedisStore(self._servers[kind], number)
            case "postgres":
                return PostgresStore(self._postgres(), f"peer_{system.queue}")
            case "welip":
                url = self._postgres()
                asyncio.run(migrate(url))
                kafka = self._exit.enter_context(KafkaServer(self._folder / "kafka"))
                return WelipStore(Bench(self._folder, url, kafka.bootstrap, embedded=False))

    def _postgres(self) -> str:
        if "postgres" not in self._servers:
            postgres = EmbeddedPostgres(self._folder / "postgres")
            self._servers["postgres"] = postgres.start()
            self._exit.callback(postgres.stop)
        return str(self._servers["postgres"])


def main() -> int:
    """Measure everything, or only the named parts."""
    queues = sorted({system.queue for system in SYSTEMS})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the medians count")
    parser.add_argument("--parts", default="a,b,c,d", help="a: drain, b: latency, c: short jobs, d: recovery")
    parser.add_argument("--only", default=",".join(queues), help=f"of {', '.join(queues)}")
    parser.add_argument("--quick", action="store_true", help="one round of small counts, to see that it works")
    given = parser.parse_args()
    only, parts = given.only.split(","), given.parts.split(",")
    if unknown := (set(only) - set(queues)) | (set(parts) - set("abcd")):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for name in (signal.SIGINT, signal.SIGTERM):  # SIGINT as well: a background shell starts us with it ignored
        signal.signal(name, signal.default_int_handler)
    began = time.monotonic()
    sizes = Sizes.quick() if given.quick else Sizes()
    rounds = 1 if given.quick else given.rounds
    with (
        tempfile.TemporaryDirectory(prefix="welip-peers-", ignore_cleanup_errors=True) as folder,
        Comparison(Path(folder), sizes) as comparison,
    ):
        comparison.admit(system for system in SYSTEMS if system.queue in only)
        if set(parts) & set("abc"):
            for n in range(rounds):
                comparison.round("".join(parts), n + 1, rounds)
        if "d" in parts:
            comparison.recover()
        report(comparison, rounds, time.monotonic() - began)
    return 0


def report(comparison: Comparison, rounds: int, took_s: float) -> None:
    """Print the tables and the JSON."""
    figures = comparison.figures()
    systems: Sequence[System] = [peer.system for peer in comparison.peers]
    console = Console(width=140, highlight=False)
    for name in ("durable", "default"):
        mine = [system for system in systems if name in system.tables]
        console.print(tables.table(name, mine, figures[name], comparison.sizes))
    for name, reason in comparison.left_out.items():
        console.print(f"left out: {name}: {reason}", markup=False)
    installed = {peer.system.queue: peer.system.requirements for peer in comparison.peers}
    print(
        json.dumps(
            {
                "rounds": rounds,
                "took_s": round(took_s),
                **figures,
                "left_out": comparison.left_out,
                "requirements": {queue: list(wanted) for queue, wanted in installed.items() if wanted},
            }
        )
    )


def say(line: str) -> None:
    """Print a line of progress."""
    progress.print(line, markup=False)


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, JobError) else str(error) or type(error).__name__


def _shown(found: dict[str, Any]) -> str:
    parts = []
    if "jobs_per_s" in found:
        parts.append(f"{found['jobs_per_s']:,.0f} jobs/s")
    for rate, of in found.get("latency_ms", {}).items():
        parts.append(f"{rate}/s " + "/".join("-" if ms is None else f"{ms:.1f}" for ms in of.values()) + " ms")
    if "short_s" in found:
        parts.append("short jobs -" if found["short_s"] is None else f"short jobs {found['short_s']:.1f} s")
    return ", ".join(parts)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("stopped; every process that was started has ended")
        sys.exit(130)
