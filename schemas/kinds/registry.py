"""The registry of kinds: one row each. A stage named here is the module `consumers/stages/<kind>/<stage>.py`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from schemas.kinds.indexing import IndexingInput, IndexingResult
from schemas.kinds.inference import InferenceInput, InferenceResult
from schemas.kinds.noop import NoopInput
from schemas.topics import Lane, Pool, topic_name


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work: what it takes, what it gives, and the stages it goes through, each with the pool that runs it.

    A job begins at the first stage; children of a fan-out begin where their parent says, which is one of `fan_out`.
    """

    name: str
    input: type[BaseModel]
    result: type[BaseModel] | None
    stages: Mapping[str, Pool]
    fan_out: frozenset[str] = frozenset()

    @property
    def first_stage(self) -> str:
        """The stage a submitted job begins at."""
        return next(iter(self.stages))


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "indexing",
            IndexingInput,
            IndexingResult,
            {
                "plan": Pool.CPU,
                "prepare": Pool.CPU,
                "embed": Pool.GPU,
                "upsert": Pool.CPU,
                "swap": Pool.CPU,
                "report": Pool.CPU,
            },
            fan_out=frozenset({"prepare"}),
        ),
        Kind(
            "inference",
            InferenceInput,
            InferenceResult,
            {"retrieve": Pool.CPU, "encode": Pool.GPU, "rerank": Pool.GPU, "generate": Pool.GPU},
        ),
        Kind("noop", NoopInput, None, {"run": Pool.CPU}),
    )
}


@dataclass(frozen=True, slots=True)
class Route:
    """One topic: the stage it summons for, its lane, and the pool that consumes it."""

    kind: str
    stage: str
    lane: Lane
    pool: Pool
    begins: bool
    """Whether a job, or a child of one, begins here. The other stages go on with what was begun."""

    @property
    def topic(self) -> str:
        """The topic's name, which is its consumer group's too."""
        return topic_name(self.kind, self.stage, self.lane)


def routes() -> Iterator[Route]:
    """Every topic there is."""
    for kind in KINDS.values():
        for stage, pool in kind.stages.items():
            for lane in Lane:
                yield Route(kind.name, stage, lane, pool, begins=stage == kind.first_stage or stage in kind.fan_out)
