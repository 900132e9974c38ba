"""`trial`: a kind of work for tests, run by the real worker. Its stage `act` does what the job's input says."""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from consumers.stages.registry import stage
from schemas.errors import DependencyUnavailable, EngineOverloaded, InvalidInput, StageTimeout
from schemas.kinds.registry import KINDS, Kind
from schemas.outcomes import Child, Done, FanOut, Next, Outcome, Retry, Snooze
from schemas.topics import Pool


async def act(job: StageJob, ports: Ports) -> Outcome:
    match job.input:
        case {"sleep_s": float(seconds), **more} if more.get("only_epoch", job.epoch) == job.epoch:
            await asyncio.sleep(seconds)
        case {"block_s": float(seconds)}:
            time.sleep(seconds)  # noqa: ASYNC251 - a stage that keeps the event loop to itself
        case {"reports": int(count)}:
            for n in range(count):
                await job.report(n + 1, count, f"{n + 1}")
        case {"letters": int(count)}:
            return Done({"text": "x" * count})
        case {"children": int(count)}:
            return FanOut([Child("act", {"fail": n == 0 and count > 1}) for n in range(count)], "sum", {"made": count})
        case {"fail": True}:
            raise InvalidInput("it was told to fail")
        case {"retry_until_attempt": int(attempt)} if job.attempt < attempt:
            return Retry(StageTimeout("once more"), after=timedelta(0))
        case {"away_while": str(path)} if Path(path).exists():  # noqa: ASYNC240 - as good as at once
            raise DependencyUnavailable("away")
        case {"away_until_epoch": int(epoch)} if job.epoch < epoch:
            raise DependencyUnavailable("away")
        case {"overloaded_s": float(seconds)}:
            raise EngineOverloaded("full", retry_after=timedelta(seconds=seconds))
        case {"snooze_until_epoch": int(epoch)} if job.epoch < epoch:
            return Snooze(timedelta(milliseconds=1))
        case {"defect": True}:
            raise ZeroDivisionError
        case {"next_after_s": float(seconds)}:
            await asyncio.sleep(seconds)
            return Next("sum", {"made": 0})
        case {"next": True}:
            return Next("sum", {"made": 0})
    return Done({"attempt": job.attempt, "epoch": job.epoch})


async def add_up(job: StageJob, ports: Ports) -> Outcome:
    ended = [child async for child in ports.children.results(job.id)]
    failed = [child.error["code"] for child in ended if child.error]
    return Done({"children": len(ended), "failed": failed, **job.carry})


def trial_kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the registries know the kind, for as long as a test lasts."""
    stages = {"act": act, "sum": add_up}
    for name, run in stages.items():
        module = ModuleType(f"consumers.stages.trial.{name}")
        vars(module).update(run=run, NEEDS=needs(Ports.children))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "consumers.stages.trial", ModuleType("consumers.stages.trial"))
    assert isinstance(KINDS, dict)
    monkeypatch.setitem(KINDS, "trial", Kind("trial", BaseModel, None, dict.fromkeys(stages, Pool.CPU)))
    stage.cache_clear()
    yield
    stage.cache_clear()
