"""15. The worker is killed twice in the middle of a search for hyperparameters."""

import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from infra.local import engines, training
from schemas.topics import Pool
from tests.e2e.processes import environment
from tests.faults.grounds import Grounds
from tests.faults.site import NotInTime, Site, eventually
from tests.faults.verdict import Verdict, judge

T = TypeVar("T")
NAME: Final = "kill -9 in a trial of a search, and between two trials"
BOUND_S: Final = 90.0
WITHIN_S: Final = 240.0
SAME: Final = 1e-5
MAKES: Final = """
import sys
from pathlib import Path
from tests.contract import tiny_models
tiny_models.llama(Path(sys.argv[1]))
"""
SPACE: Final = {"learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}, "rank": {"choices": [2, 4]}}
TRIALS: Final = 2
STEPS: Final = 100
ENDS: Final = """
SELECT job_id, count(*) AS ends FROM job_event
WHERE type = 'state' AND data ->> 'stage' = 'report' AND data ->> 'state' = 'queued' AND job_id IN (
    SELECT id FROM job WHERE kind = 'training')
GROUP BY job_id
"""
"""How often each trial went on from its training to what comes after."""


CLAIMED: Final = """
SELECT extract(epoch FROM min(at))::float8 FROM job_event
WHERE type = 'state' AND data ->> 'state' = 'running' AND at > to_timestamp($1::float8)
"""
"""When something was claimed again; nothing but the search is there."""


async def run(grounds: Grounds, quick: bool) -> Verdict:
    if training.installed() is None:
        return Verdict(skipped="there is no environment of training (make training-env)")
    weights, models = grounds.folder / "tiny-llama", grounds.folder / "models.yaml"
    make = [str(engines.installed()), "-c", MAKES, str(weights)]
    await asyncio.to_thread(subprocess.run, make, env=environment(), check=True)
    row = {"name": "tiny", "engine": "transformers", "weights": str(weights)}
    models.write_text(json.dumps({"models": [row]}))  # JSON is YAML
    work = {"WELIP_TRAINING_FOLDER": str(grounds.folder / "work"), "OMP_NUM_THREADS": "1"}
    async with await grounds.site("search", WELIP_MODELS=str(models), **work) as site:
        [worker] = await site.hire(1, pools=(Pool.CPU, Pool.TRAIN))
        searches = Searches(site)
        undisturbed = await searches.ended(await searches.begin())
        search = await searches.begin()
        lost: list[float] = []
        for moment in (searches.in_the_first_trial, searches.after_the_first_trial):
            await _until(partial(moment, search), "there is something to cut off")
            site.kill(worker)
            lost.append(time.time())
            await eventually(lambda: worker.now.running and worker.ready, "the worker is started again")
        killed = await searches.ended(search)
        verdict = await judge(site, bound_s=BOUND_S)
        found = [(await site.fetch(CLAIMED, moment))[0][0] for moment in lost]
        verdict.recovery_s = max(at - moment for at, moment in zip(found, lost, strict=True))
        verdict.check(len(site.deaths) == 2, f"{len(site.deaths)} workers died, not 2")
        _compare(verdict, undisturbed["result"], killed["result"])
        ends = await site.fetch(ENDS)
        verdict.check([row["ends"] for row in ends] == [1] * 2 * TRIALS, f"trials trained to their end: {ends}")
        resumes = [one["result"]["resumes"] for one in await searches.trials(search)]
        verdict.check(resumes[0] == 1, f"trials went on from checkpoints {resumes} times: the first was not cut off")
        verdict.notes.append(f"{TRIALS} trials, each trained to its end once, and the same best as undisturbed")
        return verdict


def _compare(verdict: Verdict, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Both searches tried the same, with the same figures."""
    tried = [[one["params"] for one in result["trials"]] for result in (there, here)]
    verdict.check(len(tried[1]) == TRIALS and tried[0] == tried[1], f"it tried {tried[1]}, undisturbed {tried[0]}")
    verdict.check(there["best"] == here["best"], f"its best is {here['best']}, undisturbed {there['best']}")
    pairs = zip(there["trials"], here["trials"], strict=False)
    apart = max(abs(one["values"][0] - other["values"][0]) for one, other in pairs)
    verdict.check(apart < SAME, f"losses are {apart:g} away from those of an undisturbed search")


async def _until(found: Callable[[], Awaitable[T]], what: str) -> T:
    """The first truthy answer of `found`. Raises `NotInTime`."""
    deadline = time.monotonic() + WITHIN_S
    while not (answer := await found()):
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {WITHIN_S:g} s: {what}")
        await asyncio.sleep(0.05)
    return answer


class Searches:
    """Searches on a site, over HTTP. Those with one seed try the same, if nothing goes wrong."""

    def __init__(self, site: Site) -> None:
        self._http = site.load.http
        self._blobs = site.blobs
        self._how = {"max_steps": STEPS, "epochs": 100, "batch_size": 4, "checkpoint_every_steps": 5}

    async def begin(self) -> str:
        """Submit one; its id."""
        rows = [json.dumps({"prompt": f"규칙은 무엇인가요? {n}", "completion": f"파랑. {n}"}) for n in range(24)]
        files = {"file": ("rules.jsonl", "\n".join(rows).encode())}
        file = (await self._http.post("/v1/files", files=files, data={"purpose": "fine-tune"})).json()["id"]
        asked = {"base_model": "tiny", "dataset": file, "space": SPACE, "trials": TRIALS, "at_once": 1}
        asked |= {"validation_share": 0.2, "hyperparameters": self._how}
        answer = await self._http.post("/v1/jobs", json={"kind": "search", "input": asked})
        assert answer.status_code == 202, answer.text
        id: str = answer.json()["id"]
        return id

    async def ended(self, id: str) -> dict[str, Any]:
        """The job, once it has ended."""

        async def over() -> dict[str, Any] | None:
            job = await self._job(id)
            return job if job["finished_at"] else None

        job: dict[str, Any] = await _until(over, "the search has ended")
        assert job["state"] == "succeeded", job["error"]
        return job

    async def trials(self, id: str) -> list[dict[str, Any]]:
        """Its children, the first one first."""
        answer = await self._http.get("/v1/jobs", params={"parent": id, "limit": 100})
        children: list[dict[str, Any]] = answer.json()["data"]
        return children[::-1]

    async def in_the_first_trial(self, id: str) -> bool:
        """Whether the first trial has stored a checkpoint, and trains."""
        children = await self.trials(id)
        if not children or children[0]["state"] != "running":
            return False
        folder = f"jobs/{children[0]['id'].removeprefix('job_')}/checkpoints"
        return any(self._blobs.rglob(f"{folder}/*.json"))

    async def after_the_first_trial(self, id: str) -> bool:
        """Whether the first trial has ended; the second takes seconds before it trains."""
        first = (await self.trials(id))[0]
        return bool(first["state"] == "succeeded")

    async def _job(self, id: str) -> dict[str, Any]:
        job: dict[str, Any] = (await self._http.get(f"/v1/jobs/{id}")).json()
        return job
