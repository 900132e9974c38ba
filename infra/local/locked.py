"""Python environments of their own, in the cache folder, for what cannot live with WeLIP's packages."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from infra.local.child import cache_folder
from schemas.errors import DependencyMissing

INSTALLS_WITHIN_S: Final = 1800


@dataclass(frozen=True, slots=True)
class LockedEnvironment:
    """The packages that `lock` names, with versions and hashes.

    `purpose` says in messages what it is for, `cost` what making it takes. `needs_bytes` of free disk: what is
    installed, and the largest download beside it.
    """

    purpose: str
    prefix: str
    lock: Path
    cost: str
    needs_bytes: int

    def name(self, beside: str = "") -> str:
        """Named for what is in it: another Python or other versions are another environment, as is another `beside`."""
        made_of = f"{beside or sys.version_info[:2]}\n{self.lock.read_text()}"
        return f"{self.prefix}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"

    def installed(self, beside: str = "") -> Path | None:
        """The environment's Python, or None."""
        folder = cache_folder() / self.name(beside)
        return folder / "bin" / "python" if (folder / "ready").exists() else None

    def install(self, beside: str = "", *, complete: Callable[[Path], None] = lambda _: None) -> Path:
        """Make the environment unless it is there; its Python. `complete` gets its folder when the packages are there.

        Several processes may ask at once. Raises `DependencyMissing`, with the reason, when it cannot be made.
        """
        folder = cache_folder() / self.name(beside)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if found := self.installed(beside):
                return found
            free = shutil.disk_usage(folder).free
            if free < self.needs_bytes:
                raise DependencyMissing(
                    f"the environment of {self.purpose} needs {self.needs_bytes >> 30} GB, and {folder} has"
                    f" {free >> 30} GB free: make room, or let WELIP_CACHE name another folder"
                )
            python = folder / "bin" / "python"
            self._run("venv", [sys.executable, "-m", "venv", "--clear", str(folder)])
            # All packages are named, with versions and hashes: nothing is left to resolve. No cache: it would double
            # the disk.
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
            locked = ["install", "--no-cache-dir", "--no-deps", "--require-hashes", "--requirement", str(self.lock)]
            self._run("pip", [*pip, *locked])
            complete(folder)
            (folder / "ready").touch()
        return python

    def _run(self, what: str, command: list[str]) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALLS_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            why = f"the environment of {self.purpose}: {what} took longer than {INSTALLS_WITHIN_S} s"
            raise DependencyMissing(why) from error
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
            raise DependencyMissing(f"the environment of {self.purpose}: {what} failed: {lines[-1].strip()}")


def make(environment: LockedEnvironment, installed: Callable[[], Path | None], install: Callable[[], Path]) -> None:
    """Make an environment from the command line, and print its Python."""
    if installed() is None:
        typer.echo(f"making the environment of {environment.purpose} once, {environment.cost} ...", err=True)
    began = time.monotonic()
    try:
        python = install()
    except DependencyMissing as error:
        typer.echo(f"welip: {error.message}", err=True)
        raise typer.Exit(2) from None
    if (took := time.monotonic() - began) > 1:
        typer.echo(f"made in {took:.0f} s", err=True)
    typer.echo(python)
