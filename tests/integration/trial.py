"""`trial`: a kind of work for tests, run by the real worker. Its stage `act` does what the job's input says."""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, RootModel

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports, needs
from consumers.stages.registry import stage
from schemas.errors import DependencyUnavailable, EngineOverloaded, InvalidInput, StageTimeout
from schemas.kinds.kind import Kind, Stage
from schemas.kinds.registry import KINDS
from schemas.outcomes import Child, Done, FanOut, Next, Outcome, Retry, Snooze
from schemas.topics import Pool


class TrialInput(RootModel[dict[str, Any]]):
    pass


class Made(BaseModel):
    made: int


TRIAL = Kind(
    "trial",
    TrialInput,
    None,
    {"act": Stage(Pool.CPU), "sum": Stage(Pool.CPU, carry=Made)},
    children=frozenset({"trial", "noop"}),
)


async def act(job: StageJob[TrialInput, None], ports: Ports) -> Outcome:
    match job.input.root:
        case {"sleep_s": float(seconds), **more} if more.get("only_epoch", job.epoch) == job.epoch:
            await asyncio.sleep(seconds)
        case {"while": str(path)}:
            while Path(path).exists():  # noqa: ASYNC240 - as good as at once
                await asyncio.sleep(0.01)
        case {"block_s": float(seconds)}:
            time.sleep(seconds)  # noqa: ASYNC251 - a stage that keeps the event loop to itself
        case {"reports": int(count)}:
            for n in range(count):
                await job.report(n + 1, count, f"{n + 1}")
        case {"letters": int(count)}:
            return Done({"text": "x" * count})
        case {"children": int(count)}:
            parts = [Child("trial", {"fail": n == 0 and count > 1}, key=f"n{n}") for n in range(count)]
            return FanOut(parts, "sum", Made(made=count), lane=job.lane)  # tests read the topics of a single lane
        case {"fan_out": list(parts), **more}:
            return FanOut([Child(**part) for part in parts], more.get("then", "sum"), more.get("carry", {"made": 0}))
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
        case {"touches": str(port)}:
            getattr(ports, port)
        case {"defect": True}:
            raise ZeroDivisionError
        case {"next_after_s": float(seconds)}:
            await asyncio.sleep(seconds)
            return Next("sum", Made(made=0))
        case {"next": True, **more}:
            return Next(more.get("to", "sum"), more.get("carry", {"made": 0}))
        case {"answer": answer}:
            return answer  # type: ignore[no-any-return]  # a stage that keeps to no vocabulary
    return Done({"attempt": job.attempt, "epoch": job.epoch})


async def add_up(job: StageJob[TrialInput, Made], ports: Ports) -> Outcome:
    ended = [child async for child in ports.children.results(job.id)]
    failed = [child.error["code"] for child in ended if child.error]
    return Done({"children": len(ended), "failed": failed, "made": job.carry.made})


def trial_kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the kind while a test runs."""
    stages = {"act": act, "sum": add_up}
    for name, run in stages.items():
        module = ModuleType(f"consumers.stages.trial.{name}")
        vars(module).update(run=run, NEEDS=needs(Ports.children))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "consumers.stages.trial", ModuleType("consumers.stages.trial"))
    assert isinstance(KINDS, dict)
    monkeypatch.setitem(KINDS, "trial", TRIAL)
    stage.cache_clear()
    yield
    stage.cache_clear()
