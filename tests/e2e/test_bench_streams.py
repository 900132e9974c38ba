"""`python -m benchmarks.streams` with a few short answers: a killed gateway loses and doubles no token."""

import json
import subprocess
import sys

import pytest

from tests.e2e.test_bench_retrieval import ROOT

pytestmark = pytest.mark.timeout(450)


def test_no_token_is_lost_or_doubled_over_a_killed_gateway() -> None:
    command = [sys.executable, "-m", "benchmarks.streams", "--streams=6", "--tokens=60", "--rate=20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tokens"] == 2 * 6 * 60
    assert (found["tokens_lost"], found["tokens_doubled"], found["failed"]) == (0, 0, 0)
    assert found["statements_per_s"] <= 20
