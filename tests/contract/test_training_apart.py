"""What trains is tested in its own environment, by a pytest of its own: TRL and torch are not in ours."""

from collections.abc import Mapping

import pytest

from infra.local import training
from schemas.errors import DependencyMissing
from tests.contract.apart import Beside, Suite

WITHIN_S = 900


def environment() -> Mapping[str, str]:
    # Threads that wait for one another stand still on a busy machine: one is enough for such models.
    return training.environment() | {"OMP_NUM_THREADS": "1"}


# Two processes that load torch take as long as all the others: run those by hand after a change.
SUITE = Suite("tests/training", training.install, environment, WITHIN_S, ["--timeout=300", "-k", "not two_processes"])


@pytest.mark.models
@pytest.mark.timeout(WITHIN_S + 30)
def test_the_process_that_trains_keeps_what_docs_promise(beside: Beside) -> None:
    try:
        beside.passed(SUITE)
    except DependencyMissing as error:
        pytest.skip(error.message)
