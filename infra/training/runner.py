"""The process that trains: `python -m infra.training.runner PLAN.json`. It tells what happens as frames (`telling`)."""

import errno
import sys
import traceback
from pathlib import Path

from infra.training.telling import Cannot, Teller, end_with_the_worker
from schemas.kinds.training.plan import Failed, Frame, TrainingPlan

NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
NO_DISK = ("no space left on device", "disk quota exceeded")


def main() -> None:
    """Run the plan. Status 0 when it was told how it ended, whatever the end."""
    plan = TrainingPlan.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    teller = Teller()
    end_with_the_worker()
    try:
        # Imported here: it takes seconds, and the worker may be gone by then.
        from infra.training.training import train

        last: Frame = train(plan, teller)
    except Cannot as error:
        last = error.failed
    except Exception as error:
        traceback.print_exc()
        failed = told(error)
        if failed is None:
            raise
        last = failed
    teller.tell(last)


def told(error: Exception) -> Failed | None:
    """What an error of a library means, if it means anything to the job's owner."""
    said = str(error)
    if isinstance(error, MemoryError) or any(words in said.lower() for words in NO_MEMORY):
        return Failed(code="out_of_memory", message=first_line(said) or "memory ran out")
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or any(words in said.lower() for words in NO_DISK):
        return Failed(code="disk_full", message="the disk of the machine that trains is full", retryable=True)
    return None


def first_line(text: str) -> str:
    """The first line of a message, cut."""
    return next((line for line in text.splitlines() if line.strip()), "").strip()[:500]


if __name__ == "__main__":
    main()
