"""The models that a process serves, by their names: of these a stage is given the one that its job runs on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.errors import ModelNotServed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Served(Generic[T]):
    """Adapters by their models' names. `default`: the one for jobs of versions that knew no models."""

    adapters: Mapping[str, T]
    default: str | None

    def of(self, model: str | None) -> T:
        """The adapter for a job. Raises `ModelNotServed`, naming the models there are."""
        name = model or self.default
        if name is not None and name in self.adapters:
            return self.adapters[name]
        here = ", ".join(self.adapters) or "none"
        raise ModelNotServed(
            f"this worker does not serve the model {name!r} (it serves: {here}): was it taken out of the models file?"
        )
