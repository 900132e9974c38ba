"""The environment of lm-evaluation-harness, in the cache folder; `python -m infra.local.harness` makes it.

It holds no torch: the models that are measured stay with the worker.
"""

import os
from pathlib import Path
from typing import Final

import typer

from infra.local.locked import LockedEnvironment, make

LOCK: Final = Path(__file__).resolve().parents[1] / "deploy" / "harness.txt"
ROOT: Final = Path(__file__).resolve().parents[2]
_HARNESS: Final = LockedEnvironment("lm-eval", "harness", LOCK, "about a minute and 1 GB", 2 * 1024**3)

_SYSTEM: Final = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"})
_HUBS: Final = ("HF_", "HUGGING_FACE_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE")


def installed() -> Path | None:
    """The environment's Python, or None."""
    return _HARNESS.installed()


def install() -> Path:
    """Make the environment unless it is there (about a minute, 1 GB); its Python.

    Several processes may ask at once. Raises `DependencyMissing`, with the reason, when it cannot be made.
    """
    return _HARNESS.install()


def environment(folder: Path, *, offline: bool) -> dict[str, str]:
    """The variables of a run that writes to `folder` alone; of the worker's own, which hold secrets, only a few.

    `offline`: no hub is asked, and nothing of it is told; else what names hubs, their keys and proxies is passed on.
    """
    given = {name: value for name, value in os.environ.items() if name in _SYSTEM}
    if not offline:
        given |= {name: value for name, value in os.environ.items() if name.upper().startswith(_HUBS)}
    else:
        given |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    # One process for each run: threads of mathematics would take the cores from the model.
    few = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**given, **quiet, **few, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1"}


def main() -> None:
    """Make the environment and print its Python."""
    make(_HARNESS, installed, install)


if __name__ == "__main__":
    typer.run(main)
