"""What the training process says to the worker, and how it hears that the worker is gone."""

import os
import signal
import sys
import threading
from typing import NoReturn

from schemas.kinds.training.plan import Failed, Frame


class Cannot(Exception):
    """Training cannot go on, for a reason with a code."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.failed = Failed(code=code, message=message, retryable=retryable)


class Teller:
    """Writes frames, one JSON object a line, to what was standard output; prints of libraries go to standard error.

    Of several processes only the first one tells.
    """

    def __init__(self) -> None:
        self._first = int(os.environ.get("RANK", "0")) == 0
        self._frames = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)

    def tell(self, frame: Frame) -> None:
        """Write a frame."""
        if self._first:
            self._frames.write(frame.model_dump_json().encode() + b"\n")


def end_with_the_worker() -> None:
    """Kill this process group as soon as the worker is gone: the kernel then closes its end of standard input."""

    def wait() -> NoReturn:
        while os.read(0, 4096):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)
        sys.exit(1)  # not reached: this process is in the group

    threading.Thread(target=wait, name="worker-watch", daemon=True).start()
