"""One environment per queue, in the cache folder: the systems that we compare with are not our dependencies."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.local.child import cache_folder
from schemas.errors import DependencyMissing

INSTALLS_WITHIN_S = 600


def environment(queue: str, requirements: Sequence[str]) -> Path:
    """The Python of an environment with the requirements, created if missing; our own when there are none.

    Raises `DependencyMissing` when pip cannot install them.
    """
    if not requirements:
        return Path(sys.executable)
    what = hashlib.sha256(json.dumps([sys.version, *requirements]).encode()).hexdigest()[:12]
    folder = cache_folder() / "peers" / f"{queue}-{what}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        _run("venv", sys.executable, "-m", "venv", "--clear", str(folder))
        _run("pip", str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *requirements)
        ready.touch()
    return python


def _run(what: str, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALLS_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        raise DependencyMissing(f"{what} took longer than {INSTALLS_WITHIN_S} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise DependencyMissing(f"{what} failed: {lines[-1]}")
