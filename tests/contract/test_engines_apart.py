"""The engines of models are tested in their own environment, by a pytest of its own: vLLM's versions are not ours."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import engines, models
from schemas.errors import DependencyMissing

WITHIN_S = 1_500


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    """The environment's Python, with the small model in the cache. Made once; 7 GB."""
    try:
        models.make_smollm2()
        yield engines.install()
    except DependencyMissing as error:
        pytest.skip(error.message)


@pytest.mark.models
@pytest.mark.timeout(WITHIN_S + 30)
def test_engines_in_this_process_keep_what_every_model_keeps(python: Path, tmp_path: Path) -> None:
    # Warnings of torch, transformers and vLLM are not ours to mend.
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "filterwarnings=default",
        "--timeout=600",
        f"--basetemp={tmp_path / 'apart'}",
    ]
    # Threads that wait for one another stand still on a busy machine: one is enough for such models.
    env = engines.environment() | {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    # On a CPU vLLM then has one process less to start; its core is one of its own all the same.
    env |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    done = subprocess.run(
        [str(python), "-m", "pytest", "tests/engines", *options, "--durations=5"],
        env=env,
        cwd=engines.ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " skipped" not in done.stdout.splitlines()[-1]
