"""The gateway runs without the packages of any pool: what needs the index or a model is a job."""

import subprocess
import sys

import pytest

POOLS = ("kiwipiepy", "qdrant_client", "qdrant_edge", "sentence_transformers", "torch", "transformers", "selectolax")


@pytest.mark.parametrize("module", ["gateway.app", "producers.agents"])
def test_no_package_of_a_pool_is_imported(module: str) -> None:
    program = f"import sys, {module}; print(*(set({POOLS!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
