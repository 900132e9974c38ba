"""Finds a stage's code: stage `S` of kind `K` is `run` in `consumers/stages/K/S.py`, its ports are `NEEDS` there."""

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from consumers.stages.context import Stage, StageJob
from consumers.stages.ports import Needs, Port, Ports
from schemas.kinds.registry import Route, steps
from schemas.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class StageCode:
    """A stage's function with the ports it declares."""

    kind: str
    name: str
    run: Stage
    needs: Needs

    def __call__(self, job: StageJob[Any, Any], ports: Ports) -> Awaitable[Outcome]:
        """Run it with its own ports and no others."""
        own: dict[Port[Any], Any] = {}
        if self.needs:
            if Ports.files in self.needs:
                own[Ports.files] = ports.file_store.of(job.tenant, job.id, job.epoch)
            if Ports.tracker in self.needs:
                own[Ports.tracker] = ports.trackers.of(job.id, job.epoch)
            for port in self.needs & Ports.OF_THE_JOB.keys():
                own[port] = ports.adapter(Ports.OF_THE_JOB[port]).of(job.model)
        return self.run(job, ports.view(self, self.needs, own))

    def __str__(self) -> str:
        return f"the stage `{self.name}` of `{self.kind}`"


@cache
def stage(kind: str, name: str) -> StageCode:
    """The stage's code. Raises `ModuleNotFoundError` for one that the registry of kinds does not name."""
    module = import_module(f"consumers.stages.{kind}.{name}")
    return StageCode(kind, name, module.run, getattr(module, "NEEDS", Needs()))


def needs_of(routes: Iterable[Route]) -> Needs:
    """The ports that the stages of these topics use. Imports the stages."""
    found = (step for route in routes for step in steps(route.kind, route.stage))
    wanted = Needs().union(*(stage(step.kind.name, step.name).needs for step in found))
    if Ports.tracker in wanted:
        wanted |= {Ports.trackers}
    return wanted | {Ports.OF_THE_JOB[port] for port in wanted & Ports.OF_THE_JOB.keys()}
