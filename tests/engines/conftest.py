"""Tests of engines in this process; `tests/contract/test_engines_apart.py` runs them in the environment of engines."""

from pathlib import Path

import pytest

from infra.local.models import smollm2


@pytest.fixture(scope="session")
def small() -> Path:
    """SmolLM2-135M-Instruct."""
    found = smollm2()
    if found is None:
        pytest.skip("the small model is not in the cache: `make models`")
    return found
