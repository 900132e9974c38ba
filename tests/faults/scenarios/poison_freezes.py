"""13. Jobs that never end: one keeps its worker's event loop to itself, others freeze the process that reads a text."""

import asyncio
import random
from typing import Any, Final

import psutil

from schemas.topics import Pool
from tests.faults.grounds import Grounds
from tests.faults.site import Site, Worker, eventually
from tests.faults.tenant import Tenant
from tests.faults.verdict import Verdict, judge, uncharged
from tests.freezing import freeze

NAME: Final = "jobs that freeze their worker, or the reader of their text"
BOUND_S: Final = 180.0
STUCK_S: Final = 6.0
READING_S: Final = 5.0
FOREVER_S: Final = 3600.0
POISON: Final = f"(input ->> 'block_s')::float8 = {FOREVER_S}"
ATTEMPTS: Final = 2
"""Fewer than the workers that die: deaths cost none."""
LONG: Final = 6
MINUTE_S: Final = 60.0
"""So many jobs, of so long, run beside the poison, and beside the frozen readers."""
RATE: Final = 4.0
DEATHS: Final = 8
"""Of so many workers, at most, the poison job is found out; four is the least."""
READER: Final = "welip-analyse-i"
"""The processes that read the documents of interactive jobs; the kernel keeps 15 letters of a name."""
READ_WITHIN_S: Final = 90.0
"""A frozen reader has three times its processor time by the clock; the rest is the pace of a busy machine."""
RUNNING: Final = "SELECT count(*) = {} FROM job WHERE kind = 'noop' AND state = 'running'"


async def run(grounds: Grounds, quick: bool) -> Verdict:
    seconds = 10.0 if quick else MINUTE_S
    limits = {
        "WELIP_WORKER_STUCK": f"{STUCK_S}",
        "WELIP_ANALYSIS_TIMEOUT": f"{READING_S}",
    }
    async with await grounds.site("freezes", tenant="neighbour", **limits) as site:
        staff = await site.hire(3)
        [reading] = await site.hire(1, pools=[Pool.CPU], WELIP_WORKER_WARM="true")
        reading_pid = reading.now.pid
        await site.load.burst(LONG, max_attempts=ATTEMPTS, seconds=seconds)
        await site.load.burst(LONG, kind="noop", max_attempts=ATTEMPTS, sleep_s=seconds)
        await eventually(lambda: len(site.journal.read().tries) == LONG, "the neighbour's jobs run", within_s=60)
        await site.until_row(RUNNING.format(LONG), "the neighbour's jobs run beside the readers", within_s=60)
        async with site.load.steadily(RATE, _input, max_attempts=ATTEMPTS):
            await site.load.submit(max_attempts=ATTEMPTS, block_s=FOREVER_S)
            verdict = await _readers(site, reading)
            await site.until_row(
                f"SELECT state = 'failed' FROM job WHERE {POISON}", "the poison job ended", within_s=BOUND_S
            )
        verdict.add(await judge(site, bound_s=BOUND_S, ends=frozenset({"succeeded", "failed"})))
        [poison] = await site.fetch(
            "SELECT state, error ->> 'code' AS code, extract(epoch FROM finished_at - created_at)::float8 AS took"
            f" FROM job WHERE {POISON}"
        )
        verdict.recovery_s = poison["took"]
        end = (poison["state"], poison["code"])
        verdict.check(end == ("failed", "worker_killed"), f"the poison job ended with {end}")
        dead, stuck = len(site.deaths), site.logged("worker.stuck")
        verdict.check(4 <= dead <= DEATHS, f"{dead} workers died of one poison job")
        verdict.check(stuck == dead, f"{dead} workers died, {stuck} of them because they were stuck")
        verdict.check(reading_pid not in site.deaths, "the worker of the frozen readers died")
        verdict.check(all(one.now.running for one in staff), "a worker was not started again")
        verdict.add(await uncharged(site, harmful=f"kind = 'indexing' OR {POISON}"))
        verdict.notes.append(f"{dead} workers froze and ended themselves")
        return verdict


async def _readers(site: Site, worker: Worker) -> Verdict:
    """A frozen reader is killed and its document refused; the worker lives on and reads the next."""
    verdict = Verdict()
    async with Tenant(site, "freezer") as freezer:

        async def index(name: str) -> dict[str, Any]:
            documents = [{"id": name, "text": f"한라산은 높다. {name}"}]
            job = await freezer.index(collection="texts", documents=documents)
            return await freezer.ended(job, within_s=READ_WITHIN_S)

        before = await index("before")
        frozen = _named(worker.now.pid, READER)
        verdict.check(bool(frozen), f"no process is called {READER}: nothing was frozen")
        for reader in frozen:
            freeze(reader.pid)
        refused = await asyncio.gather(*(index(f"frozen-{number}") for number in range(len(frozen))))
        verdict.check(not any(reader.is_running() for reader in frozen), "frozen readers live on")
        after = await index("after")
    counts = [one["result"]["documents"] for one in (before, *refused, after)]
    read = [(count["added"], count["failed"]) for count in counts]
    verdict.check(read == [(1, 0), *[(0, 1)] * len(frozen), (1, 0)], f"documents added and refused: {read}")
    verdict.notes.append(f"{len(frozen)} readers frozen: their texts were refused")
    return verdict


def _named(pid: int, name: str) -> list[psutil.Process]:
    """Processes below this one."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if process.name().startswith(name):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _input() -> dict[str, Any]:
    return {"seconds": random.uniform(0, 0.5)}
