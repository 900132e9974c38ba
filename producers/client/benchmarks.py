"""Calls for benchmarks of a model: submit one, wait for its figures. Written once for both clients."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from producers.client import flows, requests, uploads
from producers.client.binding import call
from producers.client.flows import Flow, JobWatcher
from producers.client.models import TOLERANT, Job
from producers.client.requests import SubmitOptions
from producers.client.uploads import SentWatcher
from schemas.kinds.benchmark.result import BenchmarkResult


class Benchmark(BenchmarkResult):
    """What a benchmark found out, and the id of its job."""

    model_config = TOLERANT

    job: str


class BenchmarkCalls:
    """The calls of `Client` and `AsyncClient` for benchmarks."""

    @call
    def run_benchmark(
        self,
        model: str,
        tasks: Sequence[Mapping[str, Any]],
        *,
        progress: SentWatcher | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Flow[Job]:
        """Submit a benchmark of a model. `benchmark` waits for its figures.

        The `file` of a task is a path, bytes or an open file, which is uploaded, or the id of a file that is there.
        `settings`: the other fields of the kind's input, such as `limit` and `title`.
        """
        asked: dict[str, Any] = {**(settings or {}), "model": model, "tasks": []}
        for task in tasks:
            given, source = dict(task), task.get("file")
            if source is not None and not (isinstance(source, str) and source.startswith("file_")):
                with uploads.opened(source, None, progress) as (name, file):
                    given["file"] = (yield requests.upload(name, file, "evals")).id
            asked["tasks"].append(given)
        submitted: Job = yield requests.submit("benchmark", asked, options)
        return submitted

    @call
    def benchmark(
        self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None
    ) -> Flow[Benchmark]:
        """The figures of a benchmark once it has succeeded. Raises `JobFailed`, and `WaitTimeout`."""
        job = yield from flows.wait(id, timeout=timeout, on_change=on_change)
        result = yield from flows.finish(job, timeout=timeout)
        return Benchmark.model_validate({**result, "job": job.id})
