"""Lets a worker import Optuna: its own, or that of the environment of training.

A worker runs in the environment of model engines where it serves models beside its other work. That environment is
large and shared, so Optuna lies with what training needs beyond it. Only Optuna is taken from there: with the rest in
sight, this worker would take itself for one that can train.
"""

import asyncio
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Final

from infra.local import training
from schemas.errors import DependencyMissing

PACKAGE: Final = "optuna"
BORROWED: Final = (PACKAGE, "colorlog")
"""Optuna, and what of its needs the environment of engines lacks."""


class OptunaHere:
    """Implements `Optimiser`."""

    async def ready(self) -> None:
        """Make the environment of training if Optuna is nowhere (half a minute), and look for it there, too."""
        if find_spec(PACKAGE) is None:
            await asyncio.to_thread(_borrow)


class _Lender(MetaPathFinder):
    """Finds the borrowed packages in `folders`, and nothing else."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Where the package is; None for other names."""
        return PathFinder.find_spec(fullname, self._folders) if fullname in BORROWED else None


def _borrow() -> None:
    python = training.install()
    sys.meta_path.append(_Lender([str(one) for one in python.parents[1].glob("lib/python*/site-packages")]))
    importlib.invalidate_caches()
    if find_spec(PACKAGE) is None:
        raise DependencyMissing("a search needs Optuna, which this worker lacks: pip install 'welip[cpu]'")
