"""What trains is tested in its own environment, by a pytest of its own: TRL and torch are not in ours."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import engines, training
from schemas.errors import DependencyMissing

WITHIN_S = 900


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    """The environment's Python. Made once."""
    try:
        yield training.install()
    except DependencyMissing as error:
        pytest.skip(error.message)


@pytest.mark.models
@pytest.mark.timeout(WITHIN_S + 30)
def test_the_process_that_trains_keeps_what_docs_promise(python: Path, tmp_path: Path) -> None:
    # Warnings of torch, transformers and TRL are not ours to mend.
    options = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "--timeout=300"]
    # Two processes that load torch take as long as all the others: run those by hand after a change.
    options += ["-k", "not two_processes"]
    done = subprocess.run(
        [str(python), "-m", "pytest", "tests/training", *options, f"--basetemp={tmp_path / 'apart'}", "--durations=5"],
        # Threads that wait for one another stand still on a busy machine: one is enough for such models.
        env=training.environment() | {"OMP_NUM_THREADS": "1"},
        cwd=engines.ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " skipped" not in done.stdout.splitlines()[-1]
