"""What an evaluation loses when every process is killed: once while it answers, once while it judges.

`python -m benchmarks.killed` runs `welip up`, whose gateway, worker, broker and PostgreSQL all get `kill -9`, and
starts it again. A local server writes the answers and judges them (`benchmarks.judge_server`), and counts.

`resume_s` is the longer time from starting `welip up` to the first call that arrives. `answered_twice` and
`judged_twice` count replies to a prompt beyond the first, without those that were under way when all was killed: that
is, given by the server, and not in PostgreSQL yet. `report_equal`: figures, page and items are the bytes of those of
an undisturbed run, but for times.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import asyncpg
import psutil

from benchmarks.judge_server import JudgeServer, judge_server
from benchmarks.judged import GRADERS, index, items
from infra.local.child import free_port
from producers.client.evaluations import Evaluation
from producers.client.sync import Client

ANSWERS: Final = 300
WITHIN_S: Final = 300
TIMES: Final = re.compile(rb'<tr><td class="wrap">[^\n]*\n')
"""The row of the page that tells latencies."""


class Whole:
    """`welip up` on a folder, as its users run it."""

    def __init__(self, folder: Path, models: str) -> None:
        self.data = folder / "welip"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "up.log"
        (folder / "models.toml").write_text(models)
        self._env = {**os.environ, "WELIP_MODELS": str(folder / "models.toml")}
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `wait_until_ready` says when it answers."""
        command = [sys.executable, "-c", "from producers.client.cli import main; main()"]
        options = ["up", "--data", str(self.data), "--port", str(self.port), "--no-mlflow"]
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen([*command, *options], env=self._env, stdout=log, stderr=log)

    def wait_until_ready(self) -> None:
        """Raises `RuntimeError` if it ends or takes too long."""

        def ready() -> bool:
            if self._popen is None or self._popen.poll() is not None:
                raise RuntimeError(f"`welip up` ended; see {self.log}")
            with suppress(OSError), urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
            return False

        _until(ready, "`welip up` is ready")

    def kill(self, query: str) -> int:
        """`kill -9` for every process; what the query counts in PostgreSQL when the worker is dead.

        PostgreSQL dies last, a few milliseconds later, because it is what knows.
        """
        assert self._popen is not None
        postgres = self._postgres()
        tree = psutil.Process(self._popen.pid).children(recursive=True)
        _kill([psutil.Process(self._popen.pid), *(one for one in tree if one not in postgres)])
        self._popen.wait()
        known = self.count(query)
        _kill(postgres)
        psutil.wait_procs(postgres, 10)
        return known

    def count(self, query: str) -> int:
        """The number that a query returns."""

        async def asked() -> int:
            connection = await asyncpg.connect((self.data / "postgres.url").read_text().strip())
            try:
                return int(await connection.fetchval(query) or 0)
            finally:
                await connection.close()

        return asyncio.run(asked())

    def stop(self) -> None:
        """Stop it in order."""
        if self._popen is not None:
            self._popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(60)
            self._popen.kill()
            self._popen.wait()
        _kill(self._postgres())

    def _postgres(self) -> list[psutil.Process]:
        try:
            number = int((self.data / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
            postmaster = psutil.Process(number)
            return [postmaster, *postmaster.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []


def measure(count: int) -> dict[str, Any]:
    """Both kills in one run over `count` questions, and an undisturbed run."""
    with ExitStack() as running:
        server = running.enter_context(judge_server(faults=False))
        folder = Path(
            running.enter_context(tempfile.TemporaryDirectory(prefix="welip-bench-", ignore_cleanup_errors=True))
        )
        whole = Whole(folder, server.models)
        running.callback(whole.stop)
        whole.start()
        whole.wait_until_ready()
        client = running.enter_context(Client(whole.url))
        index(client, count)
        settings = {
            # One passage: the others are all equally far from the question, so which of them come is up to chance.
            "variants": [{"name": "written", "top_k": 1, "generate": {"model": "writer"}}],
            "metrics": ["f1", "chrf", "mrr", "succeeded"],
            "graders": GRADERS,
            "judge": {"model": "judge", "version": "1"},
            "reuse": False,
        }
        dataset = "\n".join(json.dumps(item, ensure_ascii=False) for item in items(count)).encode()

        def submit() -> str:
            return client.evaluate(dataset, "judged", filename="items.jsonl", settings=settings).id

        job = submit()
        resumed, under_way = {}, {}
        for model, half, kept in (
            ("writer", count // 2, "SELECT count(*) FROM job WHERE kind = 'inference' AND state = 'succeeded'"),
            ("judge", count * len(GRADERS) // 2, "SELECT count(*) FROM judgement"),
        ):

            def half_done(model: str = model, half: int = half) -> bool:
                if (seen := client.job(job)).ended:
                    raise RuntimeError(f"the evaluation ended before it was killed: {seen.error}")
                return server.replied(model) >= half

            _until(half_done, f"half is done by the {model}")
            resumed[model], under_way[model] = _kill_and_start(whole, server, model, kept)
            print(f"killed with {under_way[model]} calls of the {model} under way; going on after {resumed[model]} s")
        disturbed = _told(client, client.evaluation(job, timeout=WITHIN_S), folder)
        twice = {model: max(0, server.twice(model) - under_way[model]) for model in under_way}
        whole.count("DELETE FROM judgement")
        peaceful = _told(client, client.evaluation(submit(), timeout=WITHIN_S), folder)
    different = [name for name, content in peaceful.items() if disturbed[name] != content]
    for name in different:
        pairs = enumerate(zip(disturbed[name], peaceful[name], strict=False))
        at = next((at for at, (one, other) in pairs if one != other), 0)
        for told in (disturbed, peaceful):
            print(f"{name} differs: ...{told[name][max(0, at - 200) : at + 100].decode(errors='replace')}...")
    return {
        "resume_s": max(resumed.values()),
        "answered_twice": twice["writer"],
        "judged_twice": twice["judge"],
        "report_equal": not different,
        "killed_answers": count,
        "under_way": list(under_way.values()),
    }


def _kill_and_start(whole: Whole, server: JudgeServer, model: str, kept: str) -> tuple[float, int]:
    """Seconds until a call arrives again, and how many replies were given that the database did not have."""
    known = whole.kill(kept)
    _until(lambda: server.busy == 0, "calls under way have ended")
    lost = server.replied(model) - known
    before = server.calls
    began = time.perf_counter()
    whole.start()
    _until(lambda: server.calls > before, "it goes on", every_s=0.005)
    seconds = time.perf_counter() - began
    whole.wait_until_ready()
    return round(seconds, 2), lost


def _told(client: Client, found: Evaluation, folder: Path) -> dict[str, bytes]:
    """Figures, page and items without times."""
    assert found.items_file is not None

    def content(file: str) -> bytes:
        return client.download(file, folder / file).read_bytes()

    lines = content(found.items_file).splitlines()
    return {
        "figures": json.dumps(_without_times(json.loads(content(found.figures)))).encode(),
        "page": TIMES.sub(b"", content(found.report)),
        "items": json.dumps([_without_times(json.loads(line)) for line in lines]).encode(),
    }


def _without_times(value: Any) -> Any:
    """The value without latencies, its members in their order."""
    if isinstance(value, dict):
        return {name: _without_times(one) for name, one in value.items() if name != "latency_ms"}
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def _kill(processes: Iterable[psutil.Process]) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def _until(holds: Callable[[], bool], what: str, *, every_s: float = 0.02) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {WITHIN_S} s: {what}")
        time.sleep(every_s)


def main() -> int:
    """Exit status 0 when nothing was done twice and the report is the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killed", description=__doc__)
    parser.add_argument("--count", type=int, default=ANSWERS, help="how many questions are asked")
    given = parser.parse_args()
    for name in ("POSTGRES_URL", "KAFKA_URL", "BLOBS_URL", "INDEX_URL", "AUTH", "URL", "API_KEY"):
        os.environ.pop(f"WELIP_{name}", None)
    found = measure(given.count)
    print(json.dumps(found))
    return 0 if found["report_equal"] and not found["answered_twice"] and not found["judged_twice"] else 1


if __name__ == "__main__":
    sys.exit(main())
