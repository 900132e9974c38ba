"""WeLIP, through its gateway. A result is stored when PostgreSQL has answered `Completions.record`.

`python -m benchmarks.peers.queues.welip` is a worker like `python -m consumers` that also writes the notes.
"""

import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence

from benchmarks.load import Connections
from benchmarks.peers.client import one_by_one


class Client:
    """Submits over HTTP. The gateway chooses the ids of jobs, so these are the keys."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def submit(self, key: str, seconds: float) -> str:
        """Submit a job."""
        body = json.dumps({"kind": "noop", "input": {"sleep_s": seconds} if seconds else {}})
        job = await self._connections.submit(body.encode())
        if job is None:
            raise RuntimeError("a submission was refused")
        return job

    async def submit_many(self, keys: Sequence[str], seconds: float) -> Sequence[str]:
        """Submit many jobs."""
        return await one_by_one(self, keys, seconds)


@contextlib.asynccontextmanager
async def connect() -> AsyncIterator[Client]:
    """Yield the client while its connections are open."""
    connections = Connections(int(os.environ["WELIP_GATEWAY_PORT"]))
    yield Client(connections)
    connections.close()


def worker() -> int:
    """Run a worker that notes when a stage begins and when its end is recorded."""
    from benchmarks.peers import notes
    from consumers.__main__ import main
    from consumers.completions import Completions
    from consumers.stages.context import StageJob
    from consumers.stages.noop import run as stage
    from consumers.stages.ports import Ports
    from infra.postgres.queries.moves import Move, Moved
    from schemas.kinds.noop import NoopInput
    from schemas.lifecycle import JobState
    from schemas.outcomes import Outcome

    run, record = stage.run, Completions.record

    async def noted_run(job: StageJob[NoopInput, None], ports: Ports) -> Outcome:
        notes.started(f"job_{job.id.hex}")
        return await run(job, ports)

    async def noted_record(self: Completions, move: Move) -> Moved | None:
        moved = await record(self, move)
        if moved is not None and moved.state == JobState.SUCCEEDED:
            notes.done(f"job_{move.id.hex}")
        return moved

    stage.run = noted_run
    Completions.record = noted_record  # type: ignore[method-assign]
    return main(["--pool=cpu", f"--concurrency={os.environ['PEERS_CONCURRENCY']}"])


if __name__ == "__main__":
    sys.exit(worker())
