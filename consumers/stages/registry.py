"""Finds a stage's code: stage `S` of kind `K` is `run` in `consumers/stages/K/S.py`."""

from functools import cache
from importlib import import_module
from typing import cast

from consumers.stages.context import Stage


@cache
def stage(kind: str, name: str) -> Stage:
    """The stage's function. Raises `ModuleNotFoundError` for one that the registry of kinds does not name."""
    return cast(Stage, import_module(f"consumers.stages.{kind}.{name}").run)
