"""The engines of models are tested in their own environment, by a pytest of its own: vLLM's versions are not ours."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.local import engines, models
from schemas.errors import DependencyMissing
from tests.contract.apart import Beside, Suite

WITHIN_S = 1_500


def python() -> Path:
    """The environment's Python, with the small model in the cache. Made once; 7 GB."""
    models.make_smollm2()
    return engines.install()


def environment() -> Mapping[str, str]:
    # Threads that wait for one another stand still on a busy machine: one is enough for such models.
    one = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    # On a CPU vLLM then has one process less to start; its core is one of its own all the same.
    return engines.environment() | one | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


SUITE = Suite("tests/engines", python, environment, WITHIN_S, ["--timeout=600"])


@pytest.mark.models
@pytest.mark.timeout(WITHIN_S + 30)
def test_engines_in_this_process_keep_what_every_model_keeps(beside: Beside) -> None:
    try:
        beside.passed(SUITE)
    except DependencyMissing as error:
        pytest.skip(error.message)
