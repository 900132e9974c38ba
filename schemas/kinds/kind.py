"""What a kind of work is: one row of the registry, as data. No row knows the code that does the work."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import UnionType
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

from schemas.adapters import NamedAdapter, named_adapter
from schemas.lifecycle import TERMINAL
from schemas.models import ModelNotFound, Models, ModelSpec, Task
from schemas.topics import Lane, Pool

Shape: TypeAlias = type[BaseModel] | UnionType
"""A model, or a union of models; `Model | None` may be missing."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a failed try waits: a random share of `first`, then of twice as long, up to `longest`."""

    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: the pool that runs it and what it is given.

    `input`: None means the kind's own. `carry`: what the previous stage hands on; None means nothing. `begins`: a child
    may begin here; a kind's first stage always may. `aliases`: former names that rows and messages may still use. If
    another stage of the kind has such a name now, the input decides which of the two is meant. `task`: what it has a
    model do; its jobs travel on the topics of their model. `pauses`: it heeds its owner's pause while it runs.
    """

    pool: Pool
    input: Shape | None = None
    carry: Shape | None = None
    begins: bool = False
    aliases: frozenset[str] = frozenset()
    task: Task | None = None
    pauses: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that a job runs on, the adapter that it names beside it, and where in the input both stand.

    `alias`: the one that the input names, if it does.
    """

    model: ModelSpec
    adapter: NamedAdapter | None
    field: str
    alias: str | None = None

    @property
    def name(self) -> str:
        """Of the model, with its adapter."""
        return self.model.name if self.adapter is None else str(self.adapter)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work. A submitted job begins at the first stage.

    `noun`: what its events call it, as in `job.succeeded`. `ends`: what they call an end, by the code of its error or
    by its state, where that is not the state's own name. `lane`, `max_attempts` (tries of each stage) and `timeout_s`
    (of one try) hold where a submission, or the parent of a child, does not say. `submittable`: clients may submit it;
    otherwise it exists only as a child. `children`: kinds that its stages may make. `aliases`: former names. `asks`:
    where in the input the name of the model stands, for a kind with a stage that runs one.
    """

    name: str
    input: type[BaseModel]
    result: type[BaseModel] | None
    stages: Mapping[str, Stage]
    noun: str = "job"
    ends: Mapping[str, str] = field(default_factory=dict)
    lane: Lane = Lane.INTERACTIVE
    max_attempts: int = 5
    timeout_s: float | None = None
    backoff: Backoff = Backoff()
    submittable: bool = True
    children: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    asks: tuple[str, ...] = ()
    meanings: Mapping[str, tuple["Step", ...]] = field(init=False, repr=False, compare=False)
    """The stages that a name, present or former, may mean; every message and every claim looks here."""

    def __post_init__(self) -> None:
        found: dict[str, list[Step]] = defaultdict(list)
        for name in self.stages:
            found[name].append(Step(self, name))
        for name, stage in self.stages.items():
            for former in stage.aliases:
                found[former].append(Step(self, name))
        object.__setattr__(self, "meanings", {name: tuple(steps) for name, steps in found.items()})

    @property
    def task(self) -> Task | None:
        """What its stages have a model do."""
        return next((stage.task for stage in self.stages.values() if stage.task is not None), None)

    @property
    def pauses(self) -> bool:
        """Whether its jobs can be paused: a stage heeds it, or they have children, which are held back."""
        return bool(self.children) or any(stage.pauses for stage in self.stages.values())

    def asked(self, input: Any) -> str | None:
        """The name of a model that this input has; None for a job that runs none."""
        if not self.asks:
            return None
        found = input
        for part in self.asks:
            if found is None:
                return None
            found = getattr(found, part)
        return str(found)

    def choice(self, input: Any, models: Models) -> Choice | None:
        """The model that a job with this input runs on, None for one that runs none.

        Raises `ModelNotFound`, naming the models there are, `AdapterNotFound`, and `InvalidInput` for more tokens than
        the model may make; all with the field.
        """
        if self.task is None:
            return None
        *path, field = self.asks
        asked = input
        for part in path:
            asked = getattr(asked, part)
            if asked is None:
                return None
        where = ".".join(("input", *path))
        name = getattr(asked, field)
        alias = name if name in models.aliases and not models.knows(name) else None
        if alias is not None:
            name = models.aliases[alias]
        adapter = None if models.find(name, self.task) is not None else named_adapter(name)
        base = name if adapter is None else adapter.base
        try:
            found = models.wanted(base, self.task, field=f"{where}.{field}")
        except ModelNotFound as error:
            if alias is None:
                raise
            why = f"the alias {alias!r} points to {name!r}: {error.message}"
            raise ModelNotFound(why, field=error.field) from error
        # Only what was asked for: a default is cut to what the model makes.
        if "max_tokens" in asked.model_fields_set:
            found.check_length(asked.max_tokens, field=f"{where}.max_tokens")
        if adapter is not None:
            adapter = replace(adapter, base=found.name)
        return Choice(found, adapter, f"{where}.{field}", alias)

    def model(self, input: Any, models: Models) -> str | None:
        """The name of that model. Raises as `choice` does."""
        choice = self.choice(input, models)
        return None if choice is None else choice.model.name

    def settle(self, input: Any, name: str) -> None:
        """Write the model's name into the input, in place of the one that was asked for."""
        *path, field = self.asks
        asked = input
        for part in path:
            asked = getattr(asked, part)
        setattr(asked, field, name)

    @property
    def events(self) -> tuple[str, ...]:
        """The events that tell of its ends."""
        ends = dict.fromkeys(self.ends.get(state.value, state.value) for state in sorted(TERMINAL))
        return tuple(f"{self.noun}.{end}" for end in dict.fromkeys((*ends, *self.ends.values())))

    @property
    def first_stage(self) -> str:
        """The stage a submitted job begins at."""
        return next(iter(self.stages))

    def begins(self, stage: str) -> bool:
        """Whether a job may begin at this stage, by its present name."""
        return stage in self.stages and (stage == self.first_stage or self.stages[stage].begins)


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of one kind, both by their present names."""

    kind: Kind
    name: str

    @property
    def stage(self) -> Stage:
        """The stage's row."""
        return self.kind.stages[self.name]

    @property
    def input(self) -> Shape:
        """What its jobs are given to begin with."""
        return self.stage.input or self.kind.input

    @property
    def label(self) -> str:
        """`indexing.plan`: for logs and messages."""
        return f"{self.kind.name}.{self.name}"


DEFAULT_BACKOFF: Final = Backoff()
"""For jobs whose kind is unknown here."""
