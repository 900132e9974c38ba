"""The folders are the architecture: who may import whom, how long a file may be, which names are meaningless."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas", "producers", "consumers", "gateway", "infra")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "manager", "misc", "base"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_import_contracts_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_no_two_modules_import_each_other_by_whatever_way() -> None:
    graph = grimp.build_graph(*ROOMS, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 300
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_it_is_for_and_is_not_too_long(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 400
    assert path.stem not in NAMES_THAT_SAY_NOTHING


def test_the_gateway_needs_no_optional_package() -> None:
    optional = {"kiwipiepy", "qdrant_client", "qdrant_edge", "torch", "sentence_transformers", "confluent_kafka"}
    found: set[str] = set()
    for room in ("gateway", "schemas"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module.split(".")[0])
    assert "pydantic" in found
    assert not found & optional


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_a_file_of_tests_is_split_before_it_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 650


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports test files by name alone: of two it refuses the second, and the whole run with it."""
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
