"""A defect is logged with the place where it happened, and without anything from the request."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, sys
from infra.logging import configure_logging
from infra.settings import LogSettings
configure_logging(LogSettings(format=sys.argv[1]), process="test")
from gateway.http.problems import _defect
from starlette.requests import Request

def route(key):
    raise ZeroDivisionError("a defect")

request = Request({"type": "http", "path": "/v1/jobs", "headers": [(b"authorization", b"Bearer s3cret")]})
try:
    route("s3cret")
except ZeroDivisionError as error:
    asyncio.run(_defect(request, error))
"""


@pytest.mark.parametrize("format", ["console", "json"])
def test_a_defects_log_holds_no_local_variable(format: str) -> None:
    command = [sys.executable, "-c", SCRIPT, format]
    said = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    assert "request.defect" in said.stderr
    assert "ZeroDivisionError" in said.stderr
    assert "s3cret" not in said.stderr.replace('route("s3cret")', "")
    assert said.stderr.count("\n") < 60
