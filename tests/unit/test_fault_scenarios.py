"""The fault matrix runs for a quarter of an hour, so what keeps one of its scenarios from starting is found here."""

import importlib
from pathlib import Path

import pytest

from tests.faults import scenarios

NAMES = sorted(file.stem for file in Path(scenarios.__path__[0]).glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_can_be_imported_and_says_its_name_and_bound(name: str) -> None:
    scenario = importlib.import_module(f"tests.faults.scenarios.{name}")
    assert scenario.NAME
    assert scenario.BOUND_S > 0
