"""A machine joins the trainings of another one: `python -m infra.training.join`, beside each worker of machine 0.

It takes no jobs. It watches the folder that all machines see, and starts its processes for every plan that the worker
writes there, for as long as that worker lives. With a plan, `python -m infra.training.join PLAN`, it takes part in that
one alone: a node of a TrainJob does. Node 0 writes what it tells into a file beside the plan.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
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
FRAMES: Final = "frames.jsonl"
"""What machine 0 tells of a plan, where no worker reads it from a pipe."""

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
    [lock_file] = [one / LOCK for one in plan.parents if one.name.startswith(PREFIX)][:1]
    with lock_file.open("r+") as lock:
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
    with ExitStack() as files:
        said = files.enter_context((plan.parent / f"log-{settings.machine}.txt").open("wb"))
        told = said if settings.machine else files.enter_context(plan.with_name(FRAMES).open("wb"))
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=told,
            stderr=said,
            env=training.environment(),
            start_new_session=True,
        )
    try:
        while process.poll() is None and _led(plan):
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOKS_EVERY_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdin is not None
        process.stdin.close()  # what torchrun starts is in groups of its own, and ends with this pipe
        process.wait()
    log.info("training.left", plan=str(plan), machine=settings.machine, status=process.returncode)
    return process.returncode


def take_part_once(settings: TrainingSettings, plan: Path) -> int:
    """Run this node's part of a plan; the exit status.

    A pod that is started again does not: the others have gone on without it, and the worker begins anew.
    """
    try:
        plan.with_name(f"begun-{settings.machine}").touch(exist_ok=False)
    except OSError as error:
        log.error("training.not_joined", plan=str(plan), machine=settings.machine, error=str(error))
        return 1
    return abs(take_part(settings, plan))


def _led(plan: Path) -> bool:
    try:
        return led(plan)
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    given = TrainingSettings()
    if len(sys.argv) > 1:
        sys.exit(take_part_once(given, Path(sys.argv[1])))
    if given.machine == 0:
        sys.exit("machine 0 takes the jobs: start a worker of the pool `train` there (WELIP_TRAINING_MACHINE)")
    join(given)
