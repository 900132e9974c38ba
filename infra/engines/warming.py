"""Tells, while an engine in this process warms up, what it does and for how long already."""

import contextlib
import contextvars
import threading
import time
from collections.abc import Iterator
from typing import Final

import structlog

log = structlog.get_logger(__name__)

TELLS_EVERY_S: Final = 5.0


class Warming:
    """A warm-up under way. `reason`: what the process waits for now."""

    def __init__(self, model: str, engine: str, tells_every_s: float) -> None:
        self._names = {"model": model, "engine": engine}
        self._every_s = tells_every_s
        self._began = time.monotonic()
        self._reason = ""
        self._over = threading.Event()
        # In this context, which names the process that logs.
        tell = contextvars.copy_context().run
        self._thread = threading.Thread(target=tell, args=(self._tell,), name=f"warming-{model}", daemon=True)

    def waits_for(self, reason: str) -> None:
        """The next step begins."""
        self._reason = reason
        self._log()
        if self._thread.ident is None:
            self._thread.start()

    def end(self) -> None:
        """Say no more."""
        self._over.set()

    @property
    def took_s(self) -> float:
        """Seconds since it began."""
        return round(time.monotonic() - self._began, 1)

    def _tell(self) -> None:
        while not self._over.wait(self._every_s):
            self._log()

    def _log(self) -> None:
        log.info("engine.warming", **self._names, reason=self._reason, for_s=self.took_s)


@contextlib.contextmanager
def warming(model: str, engine: str, *, tells_every_s: float = TELLS_EVERY_S) -> Iterator[Warming]:
    """Log `engine.warming` at each step and every few seconds, then `engine.ready`, unless the block raises.

    A thread tells it: an engine that starts blocks the event loop.
    """
    told = Warming(model, engine, tells_every_s)
    try:
        yield told
    finally:
        told.end()
    log.info("engine.ready", model=model, engine=engine, took_s=told.took_s)
