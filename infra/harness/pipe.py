"""The process's end of the pipe: asks the worker many things at once, and hears when the worker is gone."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from queue import Queue
from typing import NoReturn

from schemas.kinds.benchmark.harness import Answered, Asked, Asking, Frame


class Cannot(Exception):
    """The run cannot go on, for a reason with a code."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


class Pipe:
    """Frames, one JSON object a line, on what was standard output; prints of libraries go to standard error.

    When the worker is gone, the kernel closes standard input: then this removes `folder` and kills its process group.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._to = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._from = os.fdopen(os.dup(0), "rb")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self._answers: Queue[Answered] = Queue()
        threading.Thread(target=self._listen, name="answers", daemon=True).start()

    def tell(self, *frames: Frame) -> None:
        """Write frames."""
        for frame in frames:
            self._to.write(frame.model_dump_json().encode() + b"\n")
        self._to.flush()

    def ask(self, asked: Sequence[Asked]) -> list[Answered]:
        """What the worker answers, in the order of the requests. Their ids are their places."""
        self.tell(Asking(count=len(asked)))
        # Beside this thread, which reads: else both sides might wait for the other to read.
        writing = threading.Thread(target=self.tell, args=asked, name="requests", daemon=True)
        writing.start()
        found = {(answer := self._answers.get()).id: answer for _ in asked}
        writing.join()
        return [found[one.id] for one in asked]

    def _listen(self) -> NoReturn:
        for line in self._from:
            self._answers.put(Answered.model_validate_json(line))
        shutil.rmtree(self._folder, ignore_errors=True)
        os.killpg(os.getpgid(0), signal.SIGKILL)
        sys.exit(1)  # not reached: this process is in the group
