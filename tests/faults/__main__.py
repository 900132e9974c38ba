"""`python -m tests.faults`: runs the fault matrix, prints a table as it goes, and one JSON line at the end."""

import argparse
import asyncio
import importlib
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from infra.local import kafka
from schemas.errors import JobError
from tests.faults.grounds import Grounds
from tests.faults.verdict import Verdict

SCENARIOS: Final = {
    1: "workers_killed",
    2: "worker_frozen",
    3: "kafka_away",
    4: "postgres_restarted",
    5: "delivered_thrice",
    6: "workers_come_and_go",
    7: "relay_killed",
    8: "webhook_receivers",
    9: "disk_full",
    10: "clocks_off",
    11: "poison",
    12: "topic_deleted",
    13: "poison_freezes",
    14: "disk_bomb",
    15: "search_killed",
}
"""Modules of `tests/faults/scenarios/` by their numbers."""

BESIDE: Final = {3}
"""It waits for most of its time: it runs beside the others, on servers of its own."""

SCENARIO_S: Final = 300.0
MATRIX_S: Final = 20 * 60.0
"""No scenario, and not all of them, may take longer."""

ROW: Final = "{:>2}  {:<62} {:>5} {:>4} {:>7} {:>10} {:>7} {:>6}"


async def matrix(numbers: Sequence[int], *, quick: bool, folder: Path) -> dict[int, Verdict]:
    """Run scenarios, telling of each. Raises `JobError` where Kafka or Postgres cannot run."""
    found: dict[int, Verdict] = {}
    end = time.monotonic() + MATRIX_S

    async def run(own: Sequence[int], place: Path) -> None:
        async with Grounds(place) as grounds:
            for number in own:
                scenario = importlib.import_module(f"tests.faults.scenarios.{SCENARIOS[number]}")
                began = time.monotonic()
                verdict = found[number] = await _verdict(scenario, grounds, quick, min(SCENARIO_S, end - began))
                _tell(number, scenario.NAME, verdict, time.monotonic() - began)

    kafka.install()  # once, before two want it
    say(ROW.format("", "scenario", "jobs", "lost", "doubled", "recovery s", "bound s", "took s"))
    places = {"one": [n for n in numbers if n not in BESIDE], "beside": [n for n in numbers if n in BESIDE]}
    tasks = [asyncio.create_task(run(own, folder / place)) for place, own in places.items() if own]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _verdict(scenario: ModuleType, grounds: Grounds, quick: bool, limit_s: float) -> Verdict:
    try:
        async with asyncio.timeout(limit_s) as limit:
            verdict: Verdict = await scenario.run(grounds, quick)
            return verdict
    except Exception as error:  # noqa: BLE001 - the other scenarios must still run
        if limit.expired():
            return Verdict(problems=[f"not over after {limit_s:.0f} s"])
        where = "".join(traceback.format_exception(error)[-3:])
        return Verdict(problems=[f"{type(error).__name__}: {error}", *where.splitlines()])


def _tell(number: int, name: str, verdict: Verdict, took_s: float) -> None:
    if verdict.skipped is not None:
        say(f"{number:>2}  {name}: skipped, {verdict.skipped}")
        return
    recovery, bound = f"{verdict.recovery_s:.1f}", f"{verdict.bound_s:.0f}"
    say(ROW.format(number, name, verdict.jobs, verdict.lost, verdict.doubled, recovery, bound, f"{took_s:.0f}"))
    for line in [*verdict.notes, *(f"NOT GOOD: {problem}" for problem in verdict.problems)]:
        say(f"    {line}")
    if verdict.recovery_s > verdict.bound_s:
        say(f"    NOT GOOD: recovery took longer than {bound} s")


def say(line: str) -> None:
    """At once, also into a pipe."""
    print(line, flush=True)  # noqa: T201


def summary(found: dict[int, Verdict]) -> dict[str, Any]:
    """The last line."""
    ran = [verdict for verdict in found.values() if verdict.skipped is None]
    return {
        "scenarios": len(ran),
        "jobs": sum(verdict.jobs for verdict in ran),
        "lost": sum(verdict.lost for verdict in ran),
        "doubled": sum(verdict.doubled for verdict in ran),
        "worst_recovery_s": round(max((verdict.recovery_s for verdict in ran), default=0.0), 1),
    }


def main() -> int:
    """0 when every scenario held, 1 when one did not, 2 when they cannot run here, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", help="numbers of scenarios, as in 1,4")
    parser.add_argument("--quick", action="store_true", help="small numbers: the whole matrix in a few minutes")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and data")
    given = parser.parse_args()
    numbers = [int(number) for number in given.only.split(",")] if given.only else list(SCENARIOS)
    if unknown := set(numbers) - set(SCENARIOS):
        parser.error(f"there is no scenario {sorted(unknown)}; there are {list(SCENARIOS)}")
    for name in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell in the background starts us with it ignored
        signal.signal(name, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="welip-faults-"))
    keep = given.keep
    try:
        found = asyncio.run(matrix(numbers, quick=given.quick, folder=folder))
        good = all(verdict.good for verdict in found.values())
        keep = keep or not good
        say(json.dumps(summary(found)))
    except JobError as error:
        sys.stderr.write(f"the fault matrix cannot run here: {error.message}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        if keep:
            sys.stderr.write(f"logs and data: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
