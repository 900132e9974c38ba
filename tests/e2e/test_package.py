"""The wheel in fresh environments: what the client alone contains, and what commands say without their groups."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
NOT_OF_THE_CLIENT = ("fastapi", "aiokafka", "faststream", "sqlmodel", "sqlalchemy", "asyncpg", "typer", "rich")
MAX_BYTES = 15_000_000
INSTALLS_WITHIN_S = 300

pytestmark = pytest.mark.timeout(INSTALLS_WITHIN_S * 2)


class Environment(NamedTuple):
    """A virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `python COMMAND` in a folder that is unrelated to the source."""
        settings = {name: value for name, value in os.environ.items() if not name.startswith(("WELIP_", "PYTHON"))}
        return subprocess.run(
            [self.python, *command], cwd=self.folder, env=settings, capture_output=True, text=True, check=False
        )

    def welip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.folder / "bin" / "welip", *arguments)


def pip(*arguments: str | Path) -> None:
    """Run `pip ARGUMENTS`. Skips the test when the packages cannot be downloaded."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", *arguments]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=INSTALLS_WITHIN_S
    )
    if done.returncode and ("No matching distribution" in done.stderr or "NewConnectionError" in done.stderr):
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (found,) = folder.glob("welip-*.whl")
    return found


def environment(folder: Path, requirement: str) -> Environment:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    made = Environment(folder)
    constraints = ("--constraint", ROOT / "constraints.txt")
    pip("--python", made.python, "install", "--no-compile", *constraints, requirement)
    return made


@pytest.fixture(scope="module")
def client_alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.mktemp("client"), str(wheel))


@pytest.fixture(scope="module")
def command_line(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.mktemp("cli"), f"welip[cli] @ {wheel.as_uri()}")


def test_the_client_is_imported_by_its_name_without_anything_of_a_server(client_alone: Environment) -> None:
    program = """
import sys, importlib.util, welip
assert not {"httpx", "pydantic"} & set(sys.modules), "importing welip is not quick"
from welip import AsyncClient, Client
assert "infra" not in sys.modules
from welip import *
assert issubclass(JobFailed, WelipError)
print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])
"""
    done = client_alone.run("-c", program, *NOT_OF_THE_CLIENT)
    assert done.stdout == "[]\n", done.stderr


def test_schemas_need_pydantic_alone(client_alone: Environment) -> None:
    program = """
import importlib, pkgutil, sys, schemas
for module in pkgutil.walk_packages(schemas.__path__, "schemas."):
    importlib.import_module(module.name)
print("schemas.kinds.registry" in sys.modules, {"httpx", "stamina", "typer"} & set(sys.modules))
"""
    done = client_alone.run("-c", program)
    assert done.stdout == "True set()\n", done.stderr


def test_the_client_is_small(client_alone: Environment) -> None:
    (packages,) = (client_alone.folder / "lib").glob("python*/site-packages")
    of_the_environment = ("pydantic", "pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils")
    counted = [path for path in packages.iterdir() if not path.name.startswith(of_the_environment)]
    files = [file for path in counted for file in ([path] if path.is_file() else path.rglob("*"))]
    size = sum(file.stat().st_size for file in files if file.is_file())
    assert 0 < size < MAX_BYTES


RIGHT = """
from welip import Answer, AsyncClient, Client, Job
def ask(client: Client) -> str | None:
    answer: Answer = client.ask("ko", "?")
    client.dead.list(kind="noop").data[0].reason.upper()
    return answer.answer
async def submit(client: AsyncClient) -> Job:
    await client.webhooks.rotate("wh_1", 60.0)
    return await client.submit("noop", {}, lane="bulk")
"""


PROGRAMS = {
    "right": (RIGHT, 0),
    "unknown_option": (RIGHT.replace('lane="bulk"', "lanes=1"), 1),
    "wrong_answer": (RIGHT.replace("-> str | None", "-> int"), 1),
    "wrong_argument": (RIGHT.replace('list(kind="noop")', "list(kind=1)"), 1),
    "unknown_field": (RIGHT.replace("await client.webhooks.rotate", "(await client.webhooks.rotate(1)).secrets"), 2),
}


@pytest.fixture(scope="module")
def complaints(client_alone: Environment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A type checker's output for all programs, without our settings."""
    folder = tmp_path_factory.mktemp("programs")
    for name, (program, _) in PROGRAMS.items():
        (folder / f"{name}.py").write_text(program)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(client_alone.python), "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_type_checker_sees_the_types(complaints: str, name: str) -> None:
    assert re.search(r"^Found \d+ errors in \d+ files", complaints, re.MULTILINE), complaints
    found = re.findall(rf"^{name}\.py:\d+: error: .*", complaints, re.MULTILINE)
    assert len(found) == PROGRAMS[name][1], found


def test_a_type_checker_finds_nothing_in_the_examples(complaints: str) -> None:
    # The client's environment lacks `standardwebhooks`; a missing package is not held against a program.
    found = [line for line in complaints.splitlines() if line.startswith("examples/") and "[import" not in line]
    assert not [line for line in found if ": error:" in line]


def test_the_command_line_without_its_group_says_what_to_install(client_alone: Environment) -> None:
    done = client_alone.welip("ask", "?")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "welip: the command line needs the package group `cli` -- pip install 'welip[cli]'\n"


def test_the_command_line_asks_servers(command_line: Environment) -> None:
    done = command_line.welip("--url", "http://127.0.0.1:1", "jobs")
    assert done.returncode == 3, done.stderr
    assert "no answer from http://127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "groups"),
    [
        (["up"], "cpu,embedded"),
        (["gateway"], "gateway"),
        (["worker", "--pool", "cpu"], "gateway"),
        (["relay"], "gateway"),
        (["migrate"], "gateway"),
        (["key", "list"], "gateway"),
        (["tune", "--help"], "cpu"),
    ],
)
def test_a_command_that_lacks_its_group_says_what_to_install(
    command_line: Environment, arguments: list[str], groups: str
) -> None:
    done = command_line.welip(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(f"welip: `welip {arguments[0]}` needs the package group")
    assert done.stderr.endswith(f" -- pip install 'welip[{groups}]'\n")


def test_a_gateway_a_relay_and_a_sender_of_webhooks_need_the_group_gateway_alone(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = environment(tmp_path_factory.mktemp("server"), f"welip[gateway] @ {wheel.as_uri()}")
    for process in ("gateway", "producers", "consumers", "consumers.webhooks.process", "infra.postgres.migrate"):
        module = process if "." in process else f"{process}.__main__"
        done = server.run("-c", f"import sys, {module}; print('kiwipiepy' in sys.modules)")
        assert done.stdout == "False\n", done.stderr


def test_an_editable_install_has_the_name_too(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import welip; print(welip.__file__); from welip import AsyncClient, Client"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert Path(done.stdout.strip()).is_relative_to(ROOT), done.stderr
