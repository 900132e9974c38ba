"""How much room the engines of models in this process have; a server elsewhere decides for itself."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from infra.engines.limited import ChatEngine, LimitedTextModel
from schemas.topics import Lane

Room = Callable[[Lane], int]
"""How many jobs of a lane the worker should hold now, those it holds included."""


@runtime_checkable
class HasRoom(Protocol):
    """An engine in this process, which knows how much it can take."""

    def room(self, lane: Lane) -> int:
        """As `Room`."""


def room_of(model: ChatEngine) -> Room | None:
    """The room of an engine in this process; None for a server elsewhere."""
    inner = model.model if isinstance(model, LimitedTextModel) else model
    return inner.room if isinstance(inner, HasRoom) else None
