"""Processes of the local stack that are started again."""

import sys
import time
from pathlib import Path

import pytest

from infra.local import kept
from infra.local.child import Child
from infra.local.kept import Kept


def ends(folder: Path, program: str) -> Kept:
    """A process that was started and has ended."""
    one = Kept(Child("worker", [sys.executable, "-c", program], log=folder / "worker.log"))
    one.start()
    wait(one)
    return one


def wait(one: Kept) -> None:
    deadline = time.monotonic() + 60
    while one.child.running:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def started_again(one: Kept) -> int:
    """Look until it runs again, and told nothing more; its process id."""
    before, deadline = one.child.pid, time.monotonic() + 60
    while one.child.pid == before:
        assert one.look() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert one.child.pid is not None
    return one.child.pid


def test_why_it_ended_is_told_once(tmp_path: Path) -> None:
    one = ends(tmp_path, "print('[info] starting'); print('[error    ] worker.cannot_start  no transformers'); exit(2)")
    assert one.look() == "the worker ended; starting it again: [error    ] worker.cannot_start  no transformers"
    assert one.look() is None


def test_an_error_of_an_earlier_life_is_not_its_reason(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_text("[error    ] long ago\n")
    assert ends(tmp_path, "print('[info] bye')").look() == "the worker ended; starting it again"


def test_what_ends_early_each_time_waits_longer_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(kept, "LONGEST_PAUSE_S", 0.04)
    one, pauses = ends(tmp_path, "exit(1)"), []
    for _ in range(4):
        assert one.look() is not None
        pauses.append(one._pause_s)
        started_again(one)
        wait(one)
    assert pauses == [0.01, 0.02, 0.04, 0.04]


def test_after_a_long_life_it_is_started_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LONG_LIFE_S", 0)
    one = ends(tmp_path, "exit(1)")
    assert one.look() is not None
    assert one._pause_s == 0
    started_again(one)
    wait(one)
