"""How busy an engine in this process is, as it counts itself."""

from collections.abc import Callable
from dataclasses import dataclass

from infra.metrics import ENGINE_CACHE, ENGINE_REQUESTS


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Requests that are written now and that wait, and the share 0..1 of the key-value cache in use (0 without one)."""

    running: int = 0
    waiting: int = 0
    cache_used: float = 0.0


def measured(model: str, load: Callable[[], EngineLoad], held: Callable[[], int] = lambda: 0) -> None:
    """Let the metrics show an engine's load. `held`: requests that wait in this process, before the engine."""
    ENGINE_REQUESTS.labels(model, "running").set_function(lambda: load().running)
    ENGINE_REQUESTS.labels(model, "waiting").set_function(lambda: load().waiting + held())
    ENGINE_CACHE.labels(model).set_function(lambda: load().cache_used)
