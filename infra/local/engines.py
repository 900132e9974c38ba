"""The environment of model engines: vLLM for a CPU, transformers and WeLIP's worker; `python -m infra.local.engines`.

vLLM pins what WeLIP's own environment has newer, so it lives in one of its own, in the cache folder.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from infra.local.child import cache_folder
from schemas.errors import DependencyMissing

LOCK: Final = Path(__file__).resolve().parents[1] / "deploy" / "engines.txt"
ROOT: Final = Path(__file__).resolve().parents[2]
NEEDS_BYTES: Final = 8 * 1024**3
"""Of free disk: what is installed, and the largest download beside it."""
INSTALLS_WITHIN_S: Final = 1800


def name() -> str:
    """Named for what is in it: another Python or other versions are another environment."""
    what = hashlib.sha256(f"{sys.version_info[:2]}\n{LOCK.read_text()}".encode()).hexdigest()[:12]
    return f"engines-{what}"


def _folder() -> Path:
    return cache_folder() / name()


def installed() -> Path | None:
    """The environment's Python, or None."""
    folder = _folder()
    return folder / "bin" / "python" if (folder / "ready").exists() else None


def install() -> Path:
    """Make the environment unless it is there (about 3 minutes, 6 GB); its Python.

    Several processes may ask at once. Raises `DependencyMissing`, with the reason, when it cannot be made.
    """
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := installed():
            return found
        free = shutil.disk_usage(folder).free
        if free < NEEDS_BYTES:
            raise DependencyMissing(
                f"the environment of model engines needs {NEEDS_BYTES >> 30} GB, and {folder} has {free >> 30} GB free:"
                " make room, or let WELIP_CACHE name another folder"
            )
        python = folder / "bin" / "python"
        run("venv", [sys.executable, "-m", "venv", "--clear", str(folder)])
        # All packages are named, with versions and hashes: nothing is left to resolve. No cache: it would double the
        # disk.
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
        run("pip", [*pip, "install", "--no-cache-dir", "--no-deps", "--require-hashes", "--requirement", str(LOCK)])
        (folder / "ready").touch()
    return python


def environment() -> dict[str, str]:
    """The variables under which that Python finds this checkout's WeLIP and puts its own tools first."""
    python = installed()
    path = [str(python.parent)] if python else []
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": os.pathsep.join([*path, os.environ.get("PATH", "")])}


def run(what: str, command: Sequence[str]) -> None:
    """Run a step of an installation. Raises `DependencyMissing` with what it said last."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALLS_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        raise DependencyMissing(f"{what} took longer than {INSTALLS_WITHIN_S} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise DependencyMissing(f"the environment of model engines: {what} failed: {lines[-1].strip()}")


def main() -> None:
    """Make the environment and print its Python."""
    if installed() is None:
        typer.echo("making the environment of model engines once, about 3 minutes and 6 GB ...", err=True)
    began = time.monotonic()
    try:
        python = install()
    except DependencyMissing as error:
        typer.echo(f"welip: {error.message}", err=True)
        raise typer.Exit(2) from None
    if (took := time.monotonic() - began) > 1:
        typer.echo(f"made in {took:.0f} s", err=True)
    typer.echo(python)


if __name__ == "__main__":
    typer.run(main)
