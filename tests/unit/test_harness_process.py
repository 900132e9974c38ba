"""Both ends of the pipe between a worker and lm-eval, with a script in the place of the one that knows lm-eval."""

import asyncio
import contextlib
import os
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from infra.harness.process import AT_ONCE, HarnessProcess
from infra.harness.settings import HarnessSettings
from infra.local import harness
from schemas.errors import BenchmarkBroke, BenchmarkFailed, EngineClosed
from schemas.kinds.benchmark.harness import Answered, Asked, Asking, Ended, HarnessPlan, HarnessTask

WITHIN_S = 120
ENDS = 'pipe.tell(Ended(tasks=[], samples="", lm_eval=said))'


def process(folder: Path, script: str) -> HarnessProcess:
    python = folder / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, os, subprocess, sys, time\n"
        "from infra.harness.pipe import Pipe\n"
        "from schemas.kinds.benchmark.harness import Asked, Ended, Failed\n"
        "pipe = Pipe(json.load(open(sys.argv[-1]))['folder'])\n"
        f"{textwrap.dedent(script)}"
    )
    python.chmod(0o755)
    return HarnessProcess(HarnessSettings(python=python))


async def echo(asked: Asked) -> Answered:
    return Answered(id=asked.id, text=f"<{asked.context}>")


async def ran(
    folder: Path, script: str, answer: Callable[[Asked], Awaitable[Answered]] = echo, told: list[int] | None = None
) -> Ended:
    counted: list[int] = [] if told is None else told

    def count(asking: Asking) -> None:
        counted.append(asking.count)

    work = folder / "work"
    work.mkdir()
    plan = HarnessPlan(tasks=[HarnessTask(name="t", task="t", data="/d")], folder=str(work))
    async with asyncio.timeout(WITHIN_S):
        return await process(folder, script).run(plan, answer, count)


async def test_many_requests_are_answered_in_the_order_of_the_questions(tmp_path: Path) -> None:
    script = f"""
    asked = [Asked(id=n, task="t", context=str(n) * 2000) for n in range(300)]
    answers = pipe.ask(asked)
    said = str([one.text for one in answers] == [f"<{{str(n) * 2000}}>" for n in range(300)])
    {ENDS}
    """
    running, most, several = 0, 0, asyncio.Event()

    async def answer(asked: Asked) -> Answered:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        if running > 1:
            several.set()
        await several.wait()
        running -= 1
        return await echo(asked)

    told: list[int] = []
    assert (await ran(tmp_path, script, answer, told)).lm_eval == "True"
    assert told == [300]
    assert 1 < most <= AT_ONCE


async def test_what_libraries_print_is_no_frame(tmp_path: Path) -> None:
    script = f'print("Loading 100%")\nprint("{{}}")\nsys.stdout.flush()\nsaid = "it"\n{ENDS}'
    assert (await ran(tmp_path, script)).lm_eval == "it"


async def test_a_failure_comes_with_its_code(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="no such task") as failed:
        await ran(tmp_path, 'pipe.tell(Failed(code="task_unknown", message="no such task"))')
    assert (failed.value.reason, failed.value.retryable) == ("task_unknown", False)


async def test_a_process_that_dies_without_a_word_breaks_the_try(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkBroke, match="status 3") as broke:
        await ran(tmp_path, "sys.exit(3)")
    assert broke.value.retryable


async def test_an_error_of_the_model_ends_the_run_with_it(tmp_path: Path) -> None:
    async def answer(_: Asked) -> Answered:
        raise EngineClosed("the key is wrong")

    with pytest.raises(EngineClosed):
        await ran(tmp_path, 'pipe.ask([Asked(id=0, task="t", context="")])', answer)


STARTS = """
child = subprocess.Popen(["sleep", "600"])
pipe.ask([Asked(id=0, task="t", context=str(child.pid))])
"""


async def cancelled(tmp_path: Path, script: str) -> int:
    """Run the script until it tells the id of a process, and cancel it then; that id."""
    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def answer(asked: Asked) -> Answered:
        heard.set_result(int(asked.context))
        await asyncio.Event().wait()
        raise AssertionError

    running = asyncio.create_task(ran(tmp_path, script, answer))
    async with asyncio.timeout(WITHIN_S):
        started = await heard
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return started


async def test_a_cancelled_run_kills_all_that_it_started(tmp_path: Path) -> None:
    await gone(await cancelled(tmp_path, STARTS))


async def test_a_cancelled_run_kills_the_program_that_it_judges(tmp_path: Path) -> None:
    script = """
    import psutil, threading
    from infra.harness.sandbox import judged
    threading.Thread(target=judged, args=("import time; time.sleep(600)", 600.0), daemon=True).start()
    while not (found := psutil.Process().children()):
        time.sleep(0.01)
    pipe.ask([Asked(id=0, task="t", context=str(found[0].pid))])
    """
    await gone(await cancelled(tmp_path, script))


async def test_a_process_whose_worker_is_gone_ends_with_what_it_started_and_leaves_no_file(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "plan.json").write_text(HarnessPlan(tasks=[], folder=str(work)).model_dump_json())
    process(tmp_path, STARTS)
    started = await asyncio.create_subprocess_exec(
        str(tmp_path / "python"),
        str(work / "plan.json"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=harness.environment(work, offline=True),
        start_new_session=True,
    )
    assert started.stdout is not None
    assert started.stdin is not None
    async with asyncio.timeout(WITHIN_S):
        await started.stdout.readline()  # how many requests come
        child = int(Asked.model_validate_json(await started.stdout.readline()).context)
        started.stdin.close()
        assert await started.wait() == -9
    await gone(child)
    assert not work.exists()


async def gone(pid: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.01)


def test_secrets_of_the_worker_do_not_reach_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WELIP_BLOBS_SECRET_KEY", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "secret")
    offline, online = (harness.environment(tmp_path, offline=one) for one in (True, False))
    assert "secret" not in offline.values()
    assert {name for name, value in online.items() if value == "secret"} == {"HF_TOKEN"}
    assert offline["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in online or "HF_HUB_OFFLINE" in os.environ
