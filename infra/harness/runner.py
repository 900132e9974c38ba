"""The process that runs lm-eval: `python -m infra.harness.runner PLAN.json`. It talks in frames (`pipe`)."""

import resource
import sys
import traceback
from pathlib import Path
from typing import Final

from infra.harness.pipe import Cannot, Pipe
from schemas.kinds.benchmark.harness import Failed, Frame, HarnessPlan

MEMORY: Final = 8 * 1024**3
"""Of this process: a tenant's template must not take that of the model beside it."""


def main() -> None:
    """Run the plan. Status 0 when it was told how it ended, whatever the end."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    plan = HarnessPlan.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pipe = Pipe(plan.folder)
    try:
        # Imported here: it takes seconds, and the worker may be gone by then.
        from infra.harness.running import run

        last: Frame = run(plan, pipe)
    except Cannot as error:
        last = Failed(code=error.code, message=error.message, retryable=error.retryable)
    except Exception as error:  # noqa: BLE001 - lm-eval and its tasks raise anything, and mean the task
        traceback.print_exc()
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        last = Failed(code="harness_failed", message=f"lm-eval cannot go on: {type(error).__name__}: {said[:400]}")
    pipe.tell(last)


if __name__ == "__main__":
    main()
