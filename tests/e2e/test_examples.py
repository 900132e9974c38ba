"""The programs in examples/, the tutorial and the READMEs run unchanged against a real stack."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.postgres.keys import create_key
from tests.e2e.processes import ROOT, Up, environment

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
PAGES = ("README.md", "README.ko.md", "docs/tutorial.md")
WITHIN_S = 120


@pytest.fixture(scope="module")
def stack(guarded: Up, database_of_guarded: str) -> dict[str, str]:
    """The settings of a client whose tenant is told of no other's jobs."""
    return {"WELIP_URL": guarded.url, "WELIP_API_KEY": create_key(database_of_guarded, "examples", "")}


def run(stack: dict[str, str], *command: str | Path) -> str:
    """The output of `python COMMAND`."""
    settings = {**environment(**stack), "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, *command], env=settings, capture_output=True, text=True, check=False, timeout=WITHIN_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def folder(path: Path) -> Path:
    """A folder with a document that is indexed, one that is refused, and a file that is left out."""
    (path / "규정").mkdir()
    (path / "규정" / "휴가.md").write_text("# 휴가 규정\n\n연차는 15일이다.\n")
    (path / "broken.pdf").write_bytes(b"%PDF-1.7 no more")
    (path / "notes.log").write_text("not a document")
    return path


def test_ask(stack: dict[str, str]) -> None:
    printed = run(stack, ROOT / "examples/ask.py")
    assert "1,947" in printed
    assert "[1] 한라산 (hallasan), score " in printed


def test_index_folder(stack: dict[str, str], tmp_path: Path) -> None:
    printed = run(stack, ROOT / "examples/index_folder.py", folder(tmp_path))
    assert "'added': 1" in printed
    assert "'failed': 1" in printed
    assert "broken.pdf: " in printed
    assert "notes.log" not in printed
    assert "'unchanged': 1" in run(stack, ROOT / "examples/index_folder.py", tmp_path)


def test_follow_events(stack: dict[str, str]) -> None:
    printed = run(stack, ROOT / "examples/follow_events.py").splitlines()
    for name in ("first", "second", "third"):
        mine = [line.removeprefix(f"{name}: ") for line in printed if line.startswith(name)]
        assert mine[0] == "queued"
        assert mine[-1] == "succeeded"
        assert "3 of 3" in mine


def test_webhook_receiver(stack: dict[str, str]) -> None:
    assert re.fullmatch(r"job\.succeeded: job_[0-9a-f]{32}\n", run(stack, ROOT / "examples/webhook_receiver.py"))


def test_every_example_is_run() -> None:
    tested = {f"{name.removeprefix('test_')}.py" for name in globals() if name.startswith("test_")}
    assert set(EXAMPLES) <= tested


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(stack: dict[str, str], page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks), encoding="utf-8")
    assert "1,947" in run(stack, program)
