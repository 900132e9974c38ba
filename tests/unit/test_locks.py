"""What `make` and the images install is named with its hash, in the versions that were tested together."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    "run": ["cpu", "embedded"],
    "dev": ["dev"],
    "images": ["gateway", "otel", "cpu", "dense", "gpu", "train"],
}
"""Each file of `requirements/` and the groups that it serves."""


def blocks(lock: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of a lock and its hashes."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            named, *hashes = line.split("--hash=")
            yield Requirement(named), [one.strip() for one in hashes]


def wanted(group: str) -> Iterator[str]:
    """The packages of a group of pyproject.toml and of the groups that it includes."""
    for text in PROJECT["project"]["optional-dependencies"][group]:
        requirement = Requirement(text)
        if requirement.name == "welip":
            for other in requirement.extras:
                yield from wanted(other)
        else:
            yield canonicalize_name(requirement.name)


def pinned() -> dict[str, str]:
    """The versions of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_has_one_version_and_hashes(lock: str) -> None:
    for requirement, hashes in blocks(lock):
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_versions_are_those_that_were_tested(lock: str) -> None:
    versions = pinned()
    for requirement, _ in blocks(lock):
        if (version := versions.get(canonicalize_name(requirement.name))) is not None:
            assert str(requirement.specifier) == f"=={version}", f"{requirement}: run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_what_a_group_needs_is_locked(lock: str) -> None:
    locked = {canonicalize_name(requirement.name) for requirement, _ in blocks(lock)}
    needed = {canonicalize_name(Requirement(text).name) for text in PROJECT["project"]["dependencies"]}
    for group in LOCKS[lock]:
        needed |= set(wanted(group))
    if lock != "images":
        needed |= set(PROJECT["dependency-groups"]["build"])
    assert needed <= locked, "run `make lock`"
