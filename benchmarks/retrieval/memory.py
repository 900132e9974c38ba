"""Whether memory stays flat: streams a large corpus through a running stack and watches its worker and gateway."""

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.questions import succeeded
from benchmarks.retrieval.generated import write_corpus
from benchmarks.retrieval.stacks import running, submitted
from consumers.tuning.judged import Judged
from producers.client.models import Job
from producers.client.sync import Client

MARKS = (10, 50, 100)
"""Percentages of the corpus at which the highest memory so far is reported."""

WATCHED = {"consumers": "worker", "gateway": "gateway", "infra.vectors.optimising": "optimiser"}
MIB = 2**20


class Watch(threading.Thread):
    """Records the peak memory of the stack's processes, looking five times a second, until it is told to leave.

    Memory that is backed by files does not count. The pages of the index's files that a process reads are resident too,
    but the kernel takes them back when it needs them.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = dict.fromkeys(WATCHED.values(), 0)
        self._left = threading.Event()

    def run(self) -> None:
        """Look until told to leave."""
        while not self._left.wait(0.2):
            for process in psutil.Process().children(recursive=True):
                try:
                    name = next((name for module, name in WATCHED.items() if module in process.cmdline()), None)
                    if name:
                        self.peak[name] = max(self.peak[name], _own(process))
                except psutil.Error:
                    continue

    def mib(self) -> dict[str, int]:
        """The peaks so far, in MiB."""
        return {name: peak // MIB for name, peak in self.peak.items()}

    def leave(self) -> None:
        """Stop looking."""
        self._left.set()
        self.join()


def _own(process: psutil.Process) -> int:
    """Bytes of resident memory that are not backed by files."""
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def memory(judged: Judged, *, megabytes: int) -> dict[str, Any]:
    """Peaks of resident memory without file pages, at each mark of a corpus of this size.

    `growth` is the worker's, from the first mark to the last.
    """
    at: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True) as folder:
        corpus = Path(folder) / "corpus.jsonl"
        documents = write_corpus(corpus, judged, size=megabytes * 1_000_000)
        with running(Path(folder) / "welip") as stack, Client(stack.url) as client:
            watch = Watch()
            watch.start()
            try:
                began = time.perf_counter()
                job = submitted(client, corpus, "benchmark")

                def mark(seen: Job) -> None:
                    done = (
                        100 * seen.children.ended / seen.children.total if seen.children and seen.children.total else 0
                    )
                    for percent in MARKS:
                        if done >= percent and str(percent) not in at:
                            at[str(percent)] = watch.mib()

                ended = client.wait(job.id, timeout=None, on_change=mark)
                took = time.perf_counter() - began
                succeeded(ended)
                at[str(MARKS[-1])] = watch.mib()
            finally:
                watch.leave()
    first, last = at.get(str(MARKS[0]), at[str(MARKS[-1])]), at[str(MARKS[-1])]
    return {
        "megabytes": megabytes,
        "documents": documents,
        "peak_mib_at_percent": at,
        "growth": round(last["worker"] / max(1, first["worker"]), 3),
        "docs_per_s": round(documents / took, 1),
        "mb_per_s": round(megabytes / took, 2),
    }
