"""Lets a worker import Optuna: its own, or that of the environment of training.

A worker runs in the environment of model engines where it serves models beside its other work. That environment is
large and shared, so Optuna lies with what training needs beyond it. None of this is in both.
"""

import asyncio
import importlib
import sys
from importlib.util import find_spec

from infra.local import training
from schemas.errors import DependencyMissing

PACKAGE = "optuna"


class OptunaHere:
    """Implements `Optimiser`."""

    async def ready(self) -> None:
        """Make the environment of training if Optuna is nowhere (half a minute), and look for it there, too."""
        if find_spec(PACKAGE) is None:
            await asyncio.to_thread(_borrow)


def _borrow() -> None:
    python = training.install()
    for packages in python.parents[1].glob("lib/python*/site-packages"):
        if str(packages) not in sys.path:
            sys.path.append(str(packages))
    importlib.invalidate_caches()
    if find_spec(PACKAGE) is None:
        raise DependencyMissing("a search needs Optuna, which this worker lacks: pip install 'welip[cpu]'")
