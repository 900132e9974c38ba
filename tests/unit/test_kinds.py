"""The registry of kinds and the code agree: each stage has its module, each topic its place."""

import inspect
import pkgutil

import pytest

import consumers.stages
from consumers.stages.registry import stage
from schemas.kinds.noop import NoopInput
from schemas.kinds.registry import KINDS, routes
from schemas.topics import Lane, Pool

STAGES = [(kind.name, name) for kind in KINDS.values() for name in kind.stages]


@pytest.mark.parametrize(("kind", "name"), STAGES)
def test_every_stage_of_the_registry_runs(kind: str, name: str) -> None:
    run = stage(kind, name)
    assert inspect.iscoroutinefunction(run)
    assert list(inspect.signature(run).parameters) == ["job", "ports"]


def test_a_stage_that_nobody_registered_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        stage("noop", "dance")


def test_every_folder_of_stages_is_a_kind() -> None:
    folders = {module.name for module in pkgutil.iter_modules(consumers.stages.__path__) if module.ispkg}
    assert folders - {"ports"} == set(KINDS)


def test_every_stage_has_a_topic_of_its_own_in_each_lane() -> None:
    topics = [route.topic for route in routes()]
    assert len(topics) == len(set(topics)) == len(STAGES) * len(Lane)
    assert "welip.indexing.plan.interactive" in topics


def test_a_kind_is_filed_under_its_name_and_begins_at_its_first_stage() -> None:
    assert all(kind.name == name for name, kind in KINDS.items())
    assert {name: kind.first_stage for name, kind in KINDS.items()} == {
        "indexing": "plan",
        "inference": "retrieve",
        "noop": "run",
    }


def test_every_pool_that_runs_stages_has_work() -> None:
    assert {route.pool for route in routes()} == set(Pool) - {Pool.WEBHOOK}


def test_a_no_op_needs_no_input() -> None:
    assert NoopInput.model_validate({}) == NoopInput(sleep_s=0, steps=1)
