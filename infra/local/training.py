"""The environment of training: TRL and what it needs, beside that of model engines; `python -m infra.local.training`.

It borrows torch, transformers and PEFT from the environment of engines, 7 GB that need not lie on the disk twice.
"""

import fcntl
import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Final

import typer

from infra.local import engines
from infra.local.child import cache_folder
from schemas.errors import DependencyMissing

LOCK: Final = Path(__file__).resolve().parents[1] / "deploy" / "training.txt"


def _folder() -> Path:
    """Named for what is in it, and for the environment that it borrows from."""
    what = hashlib.sha256(f"{engines.name()}\n{LOCK.read_text()}".encode()).hexdigest()[:12]
    return cache_folder() / f"training-{what}"


def installed() -> Path | None:
    """The environment's Python, or None."""
    folder = _folder()
    return folder / "bin" / "python" if (folder / "ready").exists() and engines.installed() else None


def install() -> Path:
    """Make the environment unless it is there (half a minute; 4 minutes and 7 GB with that of engines); its Python.

    Several processes may ask at once. Raises `DependencyMissing`, with the reason, when it cannot be made.
    """
    borrowed = engines.install()
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := installed():
            return found
        python = folder / "bin" / "python"
        engines.run("venv", [sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
        locked = ["install", "--no-cache-dir", "--no-deps", "--require-hashes", "--requirement", str(LOCK)]
        engines.run("pip", [*pip, *locked])
        _borrow(folder, borrowed.parents[1])
        (folder / "ready").touch()
    return python


def environment() -> dict[str, str]:
    """The variables under which that Python finds this checkout's WeLIP, and libraries keep quiet."""
    quiet = {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **quiet, "PYTHONPATH": str(engines.ROOT), "PYTHONUNBUFFERED": "1"}


def _borrow(folder: Path, other: Path) -> None:
    """Let the environment find the packages of another one, after its own."""
    (mine,), (theirs,) = (list(one.glob("lib/python*/site-packages")) for one in (folder, other))
    (mine / "engines.pth").write_text(f"{theirs}\n")


def main() -> None:
    """Make the environment and print its Python."""
    if installed() is None:
        typer.echo("making the environment of training once (with that of engines: 4 minutes, 7 GB)", err=True)
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
