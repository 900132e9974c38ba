"""How busy an engine in this process is, as it counts itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Requests that are written now and that wait, and the share 0..1 of the key-value cache in use (0 without one)."""

    running: int = 0
    waiting: int = 0
    cache_used: float = 0.0
