"""The package groups: a command's probes belong to the group that they stand for, and the client is the base."""

import re
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from producers.client.cli import groups
from producers.client.cli.failures import WrongUse

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def packages(requirements: list[str]) -> set[str]:
    return {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=; ]", given)[0]).lower() for given in requirements}


@pytest.mark.parametrize("group", groups.PROBES)
def test_a_group_is_known_by_packages_of_its_own(group: str) -> None:
    distributions = packages_distributions()
    of_the_group = packages(PROJECT["optional-dependencies"][group])
    for module in groups.PROBES[group]:
        assert packages(distributions[module]) <= of_the_group, module


def test_a_missing_group_is_named_and_one_that_is_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    groups.need("up", "gateway")
    there = find_spec
    monkeypatch.setattr(groups, "find_spec", lambda name: None if name == "qdrant_edge" else there(name))
    with pytest.raises(WrongUse, match="`welip up` needs the package group `embedded`") as missing:
        groups.need("up", "cpu", "embedded")
    assert missing.value.remedy == "pip install 'welip[cpu,embedded]'"


def test_groups_build_on_each_other() -> None:
    extras = PROJECT["optional-dependencies"]
    assert extras["client"] == []
    assert "welip[cli]" in extras["gateway"]
    assert all("welip[gateway]" in extras[group] for group in ("cpu", "gpu", "train"))
