"""Programs that a model wrote: they are judged, and what they may not do the kernel refuses. Linux on x86-64 alone."""

import platform
import sys
import tempfile
from pathlib import Path

import pytest

from infra.harness import sandbox
from infra.harness.pipe import Cannot
from infra.harness.sandbox import CodeEval, judged, pass_at

SECONDS = 60.0


@pytest.fixture(scope="module", autouse=True)
def _confined() -> None:
    """A machine that cannot confine programs refuses to run them, which one test shows."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("programs are confined on Linux with x86-64 alone")


def refused(program: str) -> str:
    """How the program fails; it must run until the call that is refused."""
    said = judged(f"import os, socket, subprocess, threading, signal\n{program}", SECONDS)
    assert said.startswith("failed: "), said
    return said


def test_a_program_that_ends_passes() -> None:
    assert judged("import math, re, collections\nassert math.sqrt(4) == 2", SECONDS) == "passed"


@pytest.mark.parametrize("program", ["assert 1 == 2", "raise SystemExit(0)", "import os\nos._exit(0)", "def f(:"])
def test_a_program_that_does_not_come_to_its_end_fails(program: str) -> None:
    assert judged(program, SECONDS).startswith("failed: ")


def test_a_program_that_does_not_end_is_killed() -> None:
    assert judged("while True: pass", 0.5) == "timed out"


def test_a_program_that_prints_its_success_has_none() -> None:
    assert judged("print('passed', flush=True)\nassert False", SECONDS).startswith("failed: AssertionError")


@pytest.mark.parametrize(
    "program",
    [
        "socket.socket()",
        "socket.create_connection(('127.0.0.1', 1))",
        "subprocess.run(['true'])",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), signal.SIGKILL)",
        "os.setsid()",
    ],
)
def test_processes_sockets_and_signals_are_refused(program: str) -> None:
    assert "Operation not permitted" in refused(program)


@pytest.mark.parametrize(
    "program",
    [
        "open({new!r}, 'w')",
        "open({file!r}, 'a')",
        "open({file!r}, 'r+')",
        "os.unlink({file!r})",
        "os.rename({file!r}, {new!r})",
        "os.chmod({file!r}, 0)",
        "os.mkdir({new!r})",
        "os.symlink({file!r}, {new!r})",
        "os.truncate({file!r}, 0)",
        "os.utime({file!r}, (0, 0))",
    ],
)
def test_no_file_is_changed(program: str, tmp_path: Path) -> None:
    file, new = tmp_path / "file", tmp_path / "new"
    file.write_text("kept")
    before = file.stat()
    assert "not permitted" in refused(program.format(file=str(file), new=str(new)))
    assert (file.read_text(), new.exists()) == ("kept", False)
    assert (file.stat().st_mtime_ns, file.stat().st_mode) == (before.st_mtime_ns, before.st_mode)


def test_a_program_makes_no_folder_that_a_killed_worker_would_leave_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert judged(f"import os\nassert os.listdir({str(tmp_path)!r}) == []", SECONDS) == "passed"


def test_threads_are_allowed_and_memory_is_limited() -> None:
    assert judged("import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()", SECONDS) == "passed"
    assert refused("bytes(8 * 1024**3)").startswith("failed: MemoryError")


def test_the_limits_cannot_be_raised() -> None:
    refused("import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))")


def test_where_programs_cannot_be_confined_they_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "confined.py"
    text = sandbox.CONFINED.read_text()
    assert 'platform.machine() != "x86_64"' in text
    elsewhere.write_text(text.replace('platform.machine() != "x86_64"', "True"))
    monkeypatch.setattr(sandbox, "CONFINED", elsewhere)
    with pytest.raises(Cannot) as cannot:
        judged("pass", SECONDS)
    assert cannot.value.code == "sandbox_unavailable"


def test_pass_at_k_is_the_mean_over_tasks_of_the_unbiased_estimate() -> None:
    right, wrong = "def add(a, b):\n    return a + b", "def add(a, b):\n    return a * b"
    tests = ["assert add(2, 3) == 5", "assert add(1, 1) == 2"]
    rates, verdicts = CodeEval().compute(
        references=tests, predictions=[[right, wrong], [wrong, wrong]], k=[1, 2, 5], timeout=SECONDS
    )
    assert rates == {"pass@1": 0.25, "pass@2": 0.5}
    assert [one["passed"] for _, one in verdicts[0]] == [True, False]
    assert pass_at(2, 4, 1) == pytest.approx(1 - (3 * 2) / (4 * 3))
