"""The registry of kinds and the code agree: each stage has its module, each topic its place."""

import ast
import inspect
import pkgutil
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import consumers.stages
from consumers.stages.context import StageJob
from consumers.stages.ports import Port, Ports, needs
from consumers.stages.registry import StageCode, stage
from schemas.errors import PortNotOpen
from schemas.kinds.noop import NoopInput
from schemas.kinds.registry import KINDS, routes
from schemas.outcomes import Done, Outcome
from schemas.retrieval import IndexName
from schemas.topics import Lane, Pool
from tests.unit.ports_in_memory import World

STAGES = [(kind.name, name) for kind in KINDS.values() for name in kind.stages]


@pytest.mark.parametrize(("kind", "name"), STAGES)
def test_every_stage_of_the_registry_runs(kind: str, name: str) -> None:
    run = stage(kind, name).run
    assert inspect.iscoroutinefunction(run)
    assert list(inspect.signature(run).parameters) == ["job", "ports"]


@pytest.mark.parametrize(("kind", "name"), STAGES)
def test_a_stage_declares_every_port_it_names_and_none_that_its_code_never_names(kind: str, name: str) -> None:
    """What helper functions use shows when a test runs the stage with only its declared ports."""
    module = import_module(f"consumers.stages.{kind}.{name}")
    declared = {port.name for port in stage(kind, name).needs}
    assert ports_named_in(module) <= declared
    helpers = [made for made in map(sys.modules.get, imported_by(module)) if made is not None]
    assert declared <= set().union(*map(ports_named_in, [module, *helpers]))


def ports_named_in(module: ModuleType) -> set[str]:
    """`x` for every `ports.x` and `self._ports.x` in the code."""
    tree = ast.parse(inspect.getsource(module))
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and "ports" in last_name(node)}
    return found & {name for name, port in vars(Ports).items() if isinstance(port, Port)}


def last_name(node: ast.Attribute) -> str:
    of = node.value
    return of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""


def imported_by(module: ModuleType) -> set[str]:
    """The names of the stage modules that this one imports, directly or through others."""
    known: set[str] = set()
    waiting = [module.__name__]
    while waiting:
        tree = ast.parse(inspect.getsource(sys.modules[waiting.pop()]))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("consumers.stages."):
                new = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & set(sys.modules)
                waiting += new - known
                known |= new
    return known


async def test_a_stage_meets_a_clear_error_at_a_port_it_did_not_declare() -> None:
    async def run(job: StageJob[Any, Any], ports: Ports) -> Outcome:
        await ports.blobs.put("a", b"")
        return Done({"hits": await ports.index.count(IndexName("t", "c", 1))})

    world = World()
    code = StageCode("noop", "count", run, needs(Ports.blobs))
    with pytest.raises(PortNotOpen, match=r"stage `count` of `noop` uses the port `index`.*add `Ports.index`") as found:
        await code(world.job("noop", "run", {}), world.ports)
    assert (found.value.reason, found.value.retryable) == ("port_not_open", False)
    with pytest.raises(PortNotOpen, match=r"stage `count` of `noop` uses the port `blobs`, which this process did not"):
        await code(world.job("noop", "run", {}), Ports())


def test_a_stage_that_nobody_registered_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        stage("noop", "dance")


def test_every_folder_of_stages_is_a_kind() -> None:
    folders = {module.name for module in pkgutil.iter_modules(consumers.stages.__path__) if module.ispkg}
    assert folders - {"ports"} == set(KINDS)


def test_every_stage_has_a_topic_of_its_own_in_each_lane() -> None:
    topics = [route.topic for route in routes()]
    answering = 1  # the only model of a deployment that names none can do one task
    assert len(topics) == len(set(topics)) == (len(STAGES) + answering) * len(Lane)
    assert "welip.indexing.plan.interactive" in topics


def test_a_kind_is_filed_under_its_name_and_begins_at_its_first_stage() -> None:
    assert all(kind.name == name for name, kind in KINDS.items())
    first = {"indexing": "plan", "inference": "retrieve", "noop": "run"}
    assert first.items() <= {name: kind.first_stage for name, kind in KINDS.items()}.items()


def test_every_pool_that_runs_stages_has_work() -> None:
    assert {route.pool for route in routes()} == set(Pool) - {Pool.WEBHOOK}


def test_a_no_op_needs_no_input() -> None:
    assert NoopInput.model_validate({}) == NoopInput(sleep_s=0, steps=1)
