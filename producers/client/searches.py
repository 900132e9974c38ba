"""Calls for searches for hyperparameters: submit one, wait for what it found. Written once for both clients."""

from collections.abc import Mapping
from typing import Any, Unpack

from producers.client import flows
from producers.client.binding import call
from producers.client.flows import Flow, JobWatcher
from producers.client.models import TOLERANT, Job
from producers.client.requests import SubmitOptions
from producers.client.trainings import submitted
from producers.client.uploads import SentWatcher, Source
from schemas.kinds.search import SearchResult


class HyperparameterSearch(SearchResult):
    """What a search found, and the id of its job."""

    model_config = TOLERANT

    job: str


class HyperparameterCalls:
    """The calls of `Client` and `AsyncClient` for searches for hyperparameters."""

    @call
    def sweep(
        self,
        dataset: Source,
        space: Mapping[str, Any],
        base_model: str = "default",
        *,
        validation: Source | None = None,
        filename: str | None = None,
        progress: SentWatcher | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Flow[Job]:
        """Upload a dataset, and a validation file if there is one, and search for the hyperparameters that suit it.

        `space`: hyperparameters by name, each `{"low", "high", "log"}` or `{"choices"}`. `settings`: the other fields
        of the kind's input, such as `trials`, `at_once` and `register_as`. `swept` waits for what it finds.
        """
        asked: dict[str, Any] = {**(settings or {}), "base_model": base_model, "space": dict(space)}
        return (yield from submitted("search", asked, dataset, validation, filename, progress, options))

    @call
    def swept(
        self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None
    ) -> Flow[HyperparameterSearch]:
        """What a search found, once it has succeeded. Raises `JobFailed`, and `WaitTimeout`."""
        job = yield from flows.wait(id, timeout=timeout, on_change=on_change)
        result = yield from flows.finish(job, timeout=timeout)
        return HyperparameterSearch.model_validate({**result, "job": job.id})
