"""Which Python `welip up` gives a worker that loads models."""

import sys
from pathlib import Path

import pytest

from infra.local import engines
from schemas.errors import DependencyMissing
from schemas.models import WITHOUT_MODELS, Models, TransformersModel

SMALL = Models((TransformersModel(name="small", engine="transformers", weights="/models/small"),))


@pytest.fixture(autouse=True)
def without_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    monkeypatch.setenv("WELIP_CACHE", str(tmp_path))


def test_without_models_it_is_this_one() -> None:
    assert engines.interpreter(WITHOUT_MODELS) == (sys.executable, {})


def test_with_the_packages_it_is_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _: True)
    assert engines.interpreter(SMALL) == (sys.executable, {})


def test_without_the_packages_it_is_that_of_the_environment_of_engines(tmp_path: Path) -> None:
    folder = tmp_path / engines.name()
    folder.mkdir()
    (folder / "ready").touch()
    python, variables = engines.interpreter(SMALL)
    assert python == str(folder / "bin" / "python")
    assert variables["PYTHONPATH"] == str(engines.ROOT)


def test_without_either_the_message_says_what_is_missing_and_how_to_get_it() -> None:
    with pytest.raises(DependencyMissing, match=r"small needs transformers.*python -m infra.local.engines"):
        engines.interpreter(SMALL)
