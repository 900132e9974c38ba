"""The worker's side of the process that trains, with a script in the place of the one that knows torch."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from infra.settings import BlobsSettings, WeightsSettings
from infra.training.process import TrainingProcess
from infra.training.runner import told
from infra.training.settings import TrainingSettings
from schemas.errors import TrainingBroke
from schemas.kinds.training import Hyperparameters
from schemas.kinds.training.plan import Failed, Frame, Saved, Stopped, TrainingPlan

ROOT = Path(__file__).parents[2]
WITHIN_S = 60


def plan(folder: Path) -> TrainingPlan:
    how = Hyperparameters().model_dump(exclude={"learning_rate", "batch_size", "alpha"})
    return TrainingPlan(
        weights="w",
        revision=None,
        method="sft",
        adapter="lora",
        train=str(folder / "train.jsonl"),
        validation=None,
        output=str(folder / "output"),
        resume=None,
        stop_file=str(folder / "stop"),
        learning_rate=1e-4,
        batch_size=8,
        alpha=32,
        **how,
    )


def trainer(folder: Path, script: str) -> TrainingProcess:
    python = folder / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, os, subprocess, sys, time\n"
        f"plan = json.load(open(sys.argv[-1]))\n{textwrap.dedent(script)}"
    )
    python.chmod(0o755)
    return TrainingProcess(TrainingSettings(python=python, folder=folder / "work"), BlobsSettings(), WeightsSettings())


SAVED = """print(json.dumps({"event": "saved", "step": 3, "folder": "/x", "seconds": 1.5}), flush=True)\n"""
STOPPED = """print(json.dumps({"event": "stopped", "step": 3}), flush=True)\n"""


async def frames(folder: Path, script: str) -> list[Frame]:
    async with aclosing(trainer(folder, script).run(plan(folder))) as running, asyncio.timeout(WITHIN_S):
        return [frame async for frame in running]


async def test_frames_are_passed_on_and_what_libraries_print_is_not(tmp_path: Path) -> None:
    script = f'print("Loading weights: 100%", flush=True)\nprint("{{}}")\n{SAVED}{STOPPED}'
    assert await frames(tmp_path, script) == [Saved(step=3, folder="/x", seconds=1.5), Stopped(step=3)]


async def test_what_engines_set_for_their_libraries_does_not_reach_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("HF_TOKEN", "of-the-worker")
    told = 'os.environ.get("HF_TOKEN", "") + os.environ.get("OMP_WAIT_POLICY", "")'
    process = trainer(tmp_path, SAVED.replace('"/x"', told) + STOPPED)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    async with aclosing(process.run(plan(tmp_path))) as running, asyncio.timeout(WITHIN_S):
        assert await anext(running) == Saved(step=3, folder="of-the-worker", seconds=1.5)


async def test_a_process_that_dies_without_a_word_breaks_the_try(tmp_path: Path) -> None:
    with pytest.raises(TrainingBroke, match="status 3") as broke:
        await frames(tmp_path, SAVED + "sys.exit(3)")
    assert broke.value.retryable


async def test_a_process_that_the_kernel_kills_ran_out_of_memory(tmp_path: Path) -> None:
    [failed] = await frames(tmp_path, "os.kill(os.getpid(), 9)")
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retryable) == ("out_of_memory", False)


async def test_closing_the_run_kills_all_that_it_started(tmp_path: Path) -> None:
    script = (
        'child = subprocess.Popen(["sleep", "600"])\n' + SAVED.replace('"/x"', "str(child.pid)") + "time.sleep(600)"
    )
    async with aclosing(trainer(tmp_path, script).run(plan(tmp_path))) as running, asyncio.timeout(WITHIN_S):
        frame = await anext(running)
    assert isinstance(frame, Saved)
    async with asyncio.timeout(WITHIN_S):
        while _lives(int(frame.folder)):
            await asyncio.sleep(0.01)


async def test_a_worker_that_stops_tells_what_runs_and_what_begins_later(tmp_path: Path) -> None:
    process = trainer(tmp_path, SAVED + 'while not os.path.exists(plan["stop_file"]): time.sleep(0.01)\n' + STOPPED)
    async with aclosing(process.run(plan(tmp_path))) as running, asyncio.timeout(WITHIN_S):
        assert isinstance(await anext(running), Saved)
        process.stop()
        assert [frame async for frame in running] == [Stopped(step=3)]
    (tmp_path / "stop").unlink()
    async with aclosing(process.run(plan(tmp_path))) as later, asyncio.timeout(WITHIN_S):
        assert isinstance([frame async for frame in later][-1], Stopped)


async def test_a_workspace_is_removed_at_the_end(tmp_path: Path) -> None:
    process = trainer(tmp_path, "")
    async with process.workspace() as folder:
        (folder / "a").mkdir()
        assert list((tmp_path / "work").glob("training-*")) == [folder.parent]
    assert list((tmp_path / "work").glob("training-*")) == []


async def test_what_a_killed_worker_left_is_removed_and_what_another_uses_is_not(tmp_path: Path) -> None:
    left = tmp_path / "work" / "training-left"
    left.mkdir(parents=True)
    (left / "lock").touch()
    (left / "checkpoint").touch()
    async with trainer(tmp_path, "").workspace() as mine, trainer(tmp_path, "").workspace() as theirs:
        assert set((tmp_path / "work").glob("training-*")) == {mine.parent, theirs.parent}


def test_a_process_whose_worker_is_gone_ends_itself_and_its_group() -> None:
    script = (
        "import subprocess, time\nfrom infra.training.telling import end_with_the_worker\n"
        "print(subprocess.Popen(['sleep', '600']).pid, flush=True)\nend_with_the_worker()\ntime.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    child = psutil.Process(int(process.stdout.readline()))
    process.stdin.close()
    assert process.wait(WITHIN_S) == -signal.SIGKILL
    child.wait(WITHIN_S)
    process.stdout.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (OSError(28, "No space left on device"), "disk_full"),
        (RuntimeError("[enforce fail at inline_container.cc] . No space left on device"), "disk_full"),
    ],
)
def test_what_libraries_raise_when_a_machine_is_full_is_understood(error: Exception, code: str) -> None:
    failed = told(error)
    assert failed is not None
    assert (failed.code, failed.retryable) == (code, code == "disk_full")


def test_other_errors_of_libraries_are_not_for_the_owner() -> None:
    assert told(ValueError("shapes do not match")) is None


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
