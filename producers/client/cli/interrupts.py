"""Ctrl-C and SIGINT end a command, whatever started it and whatever it is doing."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block SIGINT raises `KeyboardInterrupt`.

    A shell starts background commands with SIGINT ignored, and Python then leaves it ignored. A library that calls back
    into Python may turn the interrupt into another error: Kiwi's is a `ValueError`. Both end as `KeyboardInterrupt`
    here.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield
        return
    met = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal met
        met = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if met:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
