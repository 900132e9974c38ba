"""The registry of kinds: one row each. A stage named here is the module `consumers/stages/<kind>/<stage>.py`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from schemas.kinds.consistency import check
from schemas.kinds.indexing import IndexingInput, IndexingResult
from schemas.kinds.indexing.carries import Numbered, PartPoints, Planned, RebuildPoints
from schemas.kinds.indexing.parts import PartInput, RebuildInput
from schemas.kinds.inference import Encoded, Found, InferenceInput, InferenceResult, ToEncode
from schemas.kinds.kind import DEFAULT_BACKOFF, Backoff, Kind, Stage, Step
from schemas.kinds.noop import NoopInput
from schemas.topics import Lane, Pool, topic_name

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "indexing",
            IndexingInput,
            IndexingResult,
            {
                "plan": Stage(Pool.CPU, carry=Numbered | None),
                "prepare": Stage(Pool.CPU, PartInput, begins=True),
                "rebuild_prepare": Stage(Pool.CPU, RebuildInput, begins=True, aliases=frozenset({"prepare"})),
                "embed": Stage(Pool.GPU, PartInput | RebuildInput, PartPoints | RebuildPoints),
                "upsert": Stage(Pool.CPU, PartInput, PartPoints),
                "rebuild_upsert": Stage(Pool.CPU, RebuildInput, RebuildPoints, aliases=frozenset({"upsert"})),
                "swap": Stage(Pool.CPU, carry=Planned),
                "report": Stage(Pool.CPU, carry=Planned),
            },
            children=frozenset({"indexing"}),
        ),
        Kind(
            "inference",
            InferenceInput,
            InferenceResult,
            {
                "retrieve": Stage(Pool.CPU, carry=Encoded | None),
                "encode": Stage(Pool.GPU, carry=ToEncode),
                "rerank": Stage(Pool.GPU, carry=Found),
                "generate": Stage(Pool.GPU, carry=Found),
            },
        ),
        Kind("noop", NoopInput, None, {"run": Stage(Pool.CPU)}),
    )
}
check(KINDS)


@dataclass(frozen=True, slots=True)
class Route:
    """One topic: the stage it summons for, its lane, and the pool that consumes it."""

    kind: str
    stage: str
    lane: Lane
    pool: Pool
    begins: bool
    """Whether a job, or a child of one, begins here. The other stages continue started jobs."""

    @property
    def topic(self) -> str:
        """The name of the topic and of its consumer group."""
        return topic_name(self.kind, self.stage, self.lane)


def routes() -> Iterator[Route]:
    """Every topic: of present names, and of former ones, which are only drained."""
    for kind in KINDS.values():
        named = [(name, name) for name in kind.stages]
        # A former name that another stage now has is a topic already.
        named += [(old, new) for new in kind.stages for old in sorted(kind.stages[new].aliases - set(kind.stages))]
        for kind_name in (kind.name, *sorted(kind.aliases)):
            for stage, present in named:
                for lane in Lane:
                    yield Route(kind_name, stage, lane, kind.stages[present].pool, begins=kind.begins(present))


def kind_of(name: str) -> Kind | None:
    """The kind of this name, present or former."""
    return KINDS.get(name) or next((kind for kind in KINDS.values() if name in kind.aliases), None)


def steps(kind: str, stage: str) -> list[Step]:
    """The stages that these names, present or former, may mean; the input decides where there are two."""
    found = kind_of(kind)
    if found is None:
        return []
    names = [stage] if stage in found.stages else []
    names += [name for name, one in found.stages.items() if stage in one.aliases]
    return [Step(found, name) for name in names]


def topic_of(kind: str, stage: str, lane: str) -> str:
    """Where a summons goes: to the topic of the present names."""
    if (found := KINDS.get(kind)) is None or stage not in found.stages:
        for step in steps(kind, stage):
            return topic_name(step.kind.name, step.name, lane)
    return topic_name(kind, stage, lane)


def submittable() -> list[Kind]:
    """The kinds that clients may submit."""
    return [kind for kind in KINDS.values() if kind.submittable]


def first_stages() -> dict[str, str]:
    """The stage that a job of each kind begins at, by the kind's names, present and former."""
    return {name: kind.first_stage for kind in KINDS.values() for name in (kind.name, *kind.aliases)}


def backoffs() -> dict[str, Backoff]:
    """How long failed tries of each kind wait, by the kind's names, present and former."""
    return {name: kind.backoff for kind in KINDS.values() for name in (kind.name, *kind.aliases)}


def backoff_of(kind: str) -> Backoff:
    """How long failed tries of a kind wait, even if the kind is unknown here."""
    found = kind_of(kind)
    return DEFAULT_BACKOFF if found is None else found.backoff


def nouns() -> tuple[str, ...]:
    """What events call jobs."""
    return tuple(dict.fromkeys(kind.noun for kind in KINDS.values()))
