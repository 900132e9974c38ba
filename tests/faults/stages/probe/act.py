"""The first stage of `probe`: does what the job's input says, and leaves a trace of it."""

import asyncio
import os
import resource
import signal
import time

import psutil

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from schemas.outcomes import Next, Outcome
from tests.faults import journal
from tests.faults.effects import leave
from tests.faults.probe import Letters, ProbeInput

NEEDS = needs(Ports.blobs)
MEMORY_LEFT = 64 << 20
PIECE = 8 << 20


async def run(job: StageJob[ProbeInput, None], ports: Ports) -> Outcome:
    wish = job.input
    with journal.written(job) as note:
        if wish.dies is not None:
            await asyncio.sleep(wish.seconds)
            _die(wish.dies)
        if wish.seconds:
            await asyncio.sleep(wish.seconds)
        outcome: Outcome = Next("end", Letters(letters=wish.letters))
        if not wish.two_stages:
            outcome = await leave(job, ports, wish.letters)
        if wish.block_s:
            # A stage that keeps the event loop to itself up to its end: nothing can stop it before it has its result.
            note("blocks")
            time.sleep(wish.block_s)  # noqa: ASYNC251
        return outcome


def _die(how: str) -> None:
    if how == "memory":
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_LEFT, used + MEMORY_LEFT))
        taken = []
        try:
            while True:
                taken.append(b"\1" * PIECE)
        except MemoryError:
            os.abort()
    os.kill(os.getpid(), signal.SIGKILL)
