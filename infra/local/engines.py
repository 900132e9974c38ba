"""The environment of model engines: vLLM for a CPU, transformers and WeLIP's worker; `python -m infra.local.engines`.

vLLM pins what WeLIP's own environment has newer, so it lives in one of its own, in the cache folder.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import typer

from infra.local.locked import LockedEnvironment, make
from schemas.errors import DependencyMissing
from schemas.models import Models

LOCK: Final = Path(__file__).resolve().parents[1] / "deploy" / "engines.txt"
ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = {"vllm": "vllm", "transformers": "transformers", "cross-encoder": "sentence_transformers"}
"""What an engine in the worker's process imports."""
_ENGINES: Final = LockedEnvironment("model engines", "engines", LOCK, "about 3 minutes and 6 GB", 8 * 1024**3)


def name() -> str:
    """The name of the environment's folder."""
    return _ENGINES.name()


def installed() -> Path | None:
    """The environment's Python, or None."""
    return _ENGINES.installed()


def install() -> Path:
    """Make the environment unless it is there (about 3 minutes, 6 GB); its Python.

    Several processes may ask at once. Raises `DependencyMissing`, with the reason, when it cannot be made.
    """
    return _ENGINES.install()


def environment() -> dict[str, str]:
    """The variables under which that Python finds this checkout's WeLIP and puts its own tools first."""
    python = installed()
    path = [str(python.parent)] if python else []
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": os.pathsep.join([*path, os.environ.get("PATH", "")])}


def interpreter(models: Models) -> tuple[str, dict[str, str]]:
    """A Python whose worker can load these models, and its variables: this one, else that of the environment.

    Raises `DependencyMissing` when neither can.
    """
    needed = {row.name: PACKAGES[row.engine] for row in models if row.engine in PACKAGES}
    absent = {model: package for model, package in needed.items() if find_spec(package) is None}
    if not absent:
        return sys.executable, {}
    if (python := installed()) is not None:
        return str(python), environment()
    needs = ", ".join(f"{model} needs {package}" for model, package in absent.items())
    raise DependencyMissing(
        f"models run in the worker's process, and their packages are not here: {needs}. `python -m infra.local.engines`"
        f" makes an environment with them ({_ENGINES.cost}), and the next start finds it; or install 'welip[gpu]'"
    )


def main() -> None:
    """Make the environment and print its Python."""
    make(_ENGINES, installed, install)


if __name__ == "__main__":
    typer.run(main)
