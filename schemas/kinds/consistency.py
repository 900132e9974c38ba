"""Finds contradictions in the registry of kinds when it is read, not when the first job meets them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from schemas.kinds.kind import Kind
from schemas.topics import Pool

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""A name is a folder, a module and a part of topics."""

MOST_ATTEMPTS: Final = 25


class RegistryError(ValueError):
    """The registry of kinds contradicts itself; the message names the row and what is wrong with it."""


def check(kinds: Mapping[str, Kind]) -> None:
    """Raise `RegistryError` with everything that is wrong."""
    found = [f"kind {name!r}: {wrong}" for name, kind in kinds.items() for wrong in _wrong(name, kind, kinds)]
    if found:
        raise RegistryError("; ".join(found))


def _wrong(name: str, kind: Kind, kinds: Mapping[str, Kind]) -> Iterator[str]:
    if name != kind.name:
        yield f"it calls itself {kind.name!r}"
    for one in (kind.name, kind.noun, *kind.stages):
        if not NAME.fullmatch(one):
            yield f"{one!r} is not a name: use a-z, 0-9 and _"
    if not kind.stages:
        yield "it has no stage"
    if not 1 <= kind.max_attempts <= MOST_ATTEMPTS:
        yield f"max_attempts of {kind.max_attempts} is not between 1 and {MOST_ATTEMPTS}"
    if kind.timeout_s is not None and kind.timeout_s <= 0:
        yield f"timeout_s of {kind.timeout_s:g} leaves no time"
    if not timedelta(0) < kind.backoff.first <= kind.backoff.longest:
        yield "its backoff must begin above 0 and end no lower than it begins"
    yield from (f"it makes children of {child!r}, which is not a kind" for child in sorted(kind.children - set(kinds)))
    if not kind.submittable and not any(name in other.children for other in kinds.values()):
        yield "it is not submittable, and no kind makes children of it"
    others = {taken for other in kinds.values() if other is not kind for taken in (other.name, *other.aliases)}
    yield from (f"its alias {alias!r} is taken by another kind" for alias in sorted(kind.aliases & others))
    if kind.name in kind.aliases:
        yield "its alias is its own name"
    tasks = {stage.task for stage in kind.stages.values() if stage.task is not None}
    if len(tasks) > 1:
        yield "its stages have a model do different things: a job has one model"
    if bool(tasks) != bool(kind.asks):
        yield "where a stage runs a model, and only there, `asks` says where the input names it"
    yield from _wrong_stages(kind)


def _wrong_stages(kind: Kind) -> Iterator[str]:
    counted = Counter(alias for stage in kind.stages.values() for alias in stage.aliases)
    yield from (f"two stages have the alias {alias!r}" for alias, count in sorted(counted.items()) if count > 1)
    for name, stage in kind.stages.items():
        if stage.pool is Pool.WEBHOOK:
            yield f"stage {name!r} is in the pool `webhook`, which runs no stages"
        for alias in sorted(stage.aliases & set(kind.stages)):
            # The topic is that stage's, and the input alone can tell the two apart.
            other = kind.stages[alias]
            if (stage.input or kind.input) == (other.input or kind.input) or stage.pool is not other.pool:
                yield f"stage {name!r} has the alias {alias!r}, the name of a stage of the same input or another pool"
