"""A machine joins the trainings of another one: `python -m infra.training.join`, beside each worker of machine 0.

It takes no jobs. It watches the folder that all machines see, and starts its processes for every plan that the worker
writes there, for as long as that worker lives.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import structlog

from infra.local import training
from infra.training import launching
from infra.training.process import LOCK, PREFIX
from infra.training.settings import TrainingSettings

log = structlog.get_logger(__name__)

LOOKS_EVERY_S: Final = 1.0
PLANS: Final = f"{PREFIX}*/work/output/plan.json"

Written = tuple[Path, int]
"""A plan, and when it was written: a run that is repeated with a smaller batch writes it anew."""


def join(settings: TrainingSettings) -> None:
    """Take part until this process is ended."""
    done: set[Written] = set()
    while True:
        for plan in plans(settings.folder):
            if plan not in done:
                done.add(plan)
                take_part(settings, plan[0])
        time.sleep(LOOKS_EVERY_S)


def plans(folder: Path) -> list[Written]:
    """The plans of workers that live."""
    found = []
    for file in sorted(folder.glob(PLANS)):
        try:
            if led(file):
                found.append((file, file.stat().st_mtime_ns))
        except FileNotFoundError:  # it ended at this moment
            continue
    return found


def led(plan: Path) -> bool:
    """Whether the worker that wrote a plan lives: it holds a lock beside it. Raises `FileNotFoundError`."""
    with (plan.parents[2] / LOCK).open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def take_part(settings: TrainingSettings, plan: Path) -> int:
    """Run this machine's part of a plan to its end, or until the worker that wrote it is gone; the exit status."""
    python = launching.interpreter(settings) or str(training.install())
    command = launching.command(python, settings, plan)
    log.info("training.joined", plan=str(plan), machine=settings.machine)
    with (plan.parent / f"log-{settings.machine}.txt").open("wb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            env=training.environment(),
            start_new_session=True,
        )
    try:
        while process.poll() is None and _led(plan):
            time.sleep(LOOKS_EVERY_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdin is not None
        process.stdin.close()  # what torchrun starts is in groups of its own, and ends with this pipe
        process.wait()
    log.info("training.left", plan=str(plan), machine=settings.machine, status=process.returncode)
    return process.returncode


def _led(plan: Path) -> bool:
    try:
        return led(plan)
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    given = TrainingSettings()
    if given.machine == 0:
        sys.exit("machine 0 takes the jobs: start a worker of the pool `train` there (WELIP_TRAINING_MACHINE)")
    join(given)
