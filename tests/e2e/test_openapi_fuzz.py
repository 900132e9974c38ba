"""Requests generated from the gateway's own OpenAPI document, as two tenants: every response is a documented one.

New routes are found through the document. `make fuzz` sends many more requests, and different ones each time.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import Up, environment
from tests.e2e.test_authentication import new_key

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "6"))
LONG: Final = "FUZZ_EXAMPLES" in os.environ
TENANTS: Final = ("ours", "theirs")
CONFIG: Final = """
request-timeout = 40
continue-on-failure = true

# Every check there is, and two tenants who must not get at each other's things.
[checks]
enabled = true

[auth.wfc]
path = "tenants.json"
peers = ["ours", "theirs"]

# A body may be wrong in ways that no schema can say: two documents of one id, a URL that is no receiver's, an upload
# of more bytes than a file may have.
[[operations]]
include-method = ["POST", "PUT", "PATCH"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "413", "422", "429", "503"]

# So may a document's id: no control characters.
[[operations]]
include-path-regex = "/documents/"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "422", "429", "503"]

# A condition may not hold, a range may lie beyond the end.
[[operations]]
include-path-regex = "/(content|result)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "412", "416", "503"]
"""


@pytest.fixture(scope="module")
def fuzzed(stack_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A stack with authentication on, whose worker has room for many jobs that sleep for an hour."""
    settings = {"WELIP_AUTH": "on", "WELIP_WORKER_CONCURRENCY": "1000", "WELIP_WORKER_DRAIN": "0.5"}
    with Up(tmp_path_factory.mktemp("fuzzed") / "data", "--postgres", stack_database, **settings) as running:
        yield running


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")
@pytest.mark.timeout(7200 if LONG else 300)
def test_generated_requests_find_no_defect_and_no_undocumented_answer(
    fuzzed: Up, stack_database: str, tmp_path: Path
) -> None:
    keys = {tenant: new_key(stack_database, tenant) for tenant in TENANTS}
    headers = {tenant: [{"name": "Authorization", "value": f"Bearer {key}"}] for tenant, key in keys.items()}
    entries = [{"name": tenant, "fixedHeaders": header} for tenant, header in headers.items()]
    (tmp_path / "tenants.json").write_text(json.dumps({"auth": entries}))
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--config-file", "schemathesis.toml", "--no-color", "run", f"{fuzzed.url}/openapi.json"]
    command += ["--max-examples", str(EXAMPLES), "--warnings", "off", *([] if LONG else ["--seed", "1"])]
    said = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert said.returncode == 0, said.stdout[-20_000:] + said.stderr[-2_000:]
    for process in ("gateway", "worker"):
        log = (fuzzed.data / "logs" / f"{process}.log").read_text()
        assert [line for line in log.splitlines() if ".defect" in line] == []
