"""A parser process: reads requests from its standard input, answers on its standard output, and limits itself.

A file may be hostile and take this process over. So it is told nothing but paths, answers in JSON, which holds no
code, and gets no secret from the environment (`infra/documents/processes.py`).
"""

import contextlib
import json
import os
import resource
import signal
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO, Final

from infra.documents.files import read_file
from infra.documents.refusals import refused
from infra.documents.wire import pack
from schemas.errors import DocumentRefused

DOCUMENTS: Final = 200
"""After so many a process makes room for a fresh one: parsers leak."""

_ALARM_AFTER: Final = 3
"""Times the limit of a document. Only when the parent is gone does nobody end the process before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds a document may take, bytes of memory a process may address, characters a document may have."""

    seconds: float
    memory: int
    max_chars: int


def main() -> None:
    """Answer until the parent closes the pipe, `DOCUMENTS` are read, or half of the memory has been in use."""
    limits = Limits(**json.loads(sys.argv[1]))
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    _restrain(limits)
    _send(answers, {})
    for _ in range(DOCUMENTS):
        request = requests.readline()
        if not request:
            return
        _allow(limits.seconds)
        answer = _answer(json.loads(request), limits)
        answer["last"] = answer.get("last") or _is_big(limits)
        _send(answers, answer)
        if answer["last"]:
            return


def _restrain(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # When memory runs out, this process goes, not the worker whose jobs it serves.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _allow(seconds: float) -> None:
    """Processor time for one more document, and an end for a process that nobody watches any more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
    signal.alarm(ceil(seconds * _ALARM_AFTER))


def _answer(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    try:
        document = read_file(
            Path(request["path"]), format=request["format"], filename=request["filename"], max_chars=limits.max_chars
        )
        return {
            "text": document.text,
            "title": document.title,
            "headings": [[heading.start, heading.level, heading.text] for heading in document.headings],
            "pages": list(document.pages),
        }
    except DocumentRefused as error:
        return {"code": error.reason, "message": error.message}
    except MemoryError:
        return _refusal("document_too_large", f"it needs more than {limits.memory >> 20} MiB of memory to read")
    except BaseException as error:  # noqa: BLE001 - a panic of Rust code is no `Exception`
        # What a library says of a file may quote it, so only its kind of error is told.
        why = f"its parser gave up ({type(error).__name__})"
        return _refusal("document_damaged", why, last=not isinstance(error, Exception))


def _refusal(code: str, why: str, *, last: bool = True) -> dict[str, Any]:
    return {"code": code, "message": refused(code, why).message, "last": last}


def _is_big(limits: Limits) -> bool:
    # Not `ru_maxrss`, which begins with the size of the worker that started this process.
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:  # no Linux: it makes room after `DOCUMENTS` all the same
        return False
    return pages * resource.getpagesize() > limits.memory / 2


def _send(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(pack(answer))
    answers.flush()


if __name__ == "__main__":
    main()
