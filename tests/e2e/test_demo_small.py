"""The whole path with real small models: a job over HTTP, the dense arm, an answer that is streamed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local import engines, models
from infra.local.child import cache_folder
from schemas.errors import DependencyMissing
from tests.e2e.processes import ROOT, environment

WITHIN_S = 900


@pytest.fixture(scope="module")
def small() -> Path:
    """The small model; made, with its environment, where it is not in the cache."""
    try:
        engines.install()
        return models.make_smollm2()
    except DependencyMissing as error:
        pytest.skip(error.message)


@pytest.mark.models
@pytest.mark.timeout(WITHIN_S + 30)
def test_the_demo_answers_with_a_small_real_model(small: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "producers.client.demo_small", "--data", str(tmp_path / "data")]
    # Threads that wait for one another stand still on a busy machine: one is enough for such a model.
    env = environment(OMP_NUM_THREADS="1", WELIP_CACHE=str(cache_folder()))
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    logs = "".join(log.read_text()[-3000:] for log in sorted(tmp_path.glob("data/logs/*.log")))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["capital_of_france"]
    assert summary["found"] == summary["questions"]
    # It is a tiny model; what it is asked stands in one sentence of the first passage.
    assert summary["answered"] >= summary["questions"] // 2
    assert "hardly speaks Korean" in done.stdout
