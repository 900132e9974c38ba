"""The environment of training: TRL and what it needs, beside that of model engines; `python -m infra.local.training`.

It borrows torch, transformers and PEFT from the environment of engines, 7 GB that need not lie on the disk twice.
"""

import os
from pathlib import Path
from typing import Final

import typer

from infra.local import engines
from infra.local.locked import LockedEnvironment, make

LOCK: Final = Path(__file__).resolve().parents[1] / "deploy" / "training.txt"
_TRAINING: Final = LockedEnvironment(
    "training", "training", LOCK, "half a minute (with that of engines 4 minutes and 7 GB)", 1024**3
)


def installed() -> Path | None:
    """The environment's Python, or None."""
    return _TRAINING.installed(engines.name()) if engines.installed() else None


def install() -> Path:
    """Make the environment unless it is there (half a minute; 4 minutes and 7 GB with that of engines); its Python.

    Several processes may ask at once. Raises `DependencyMissing`, with the reason, when it cannot be made.
    """
    borrowed = engines.install().parents[1]
    return _TRAINING.install(engines.name(), complete=lambda folder: _borrow(folder, borrowed))


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
    make(_TRAINING, installed, install)


if __name__ == "__main__":
    typer.run(main)
