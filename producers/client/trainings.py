"""Calls for training: submit one, wait for what it made. Written once for both clients."""

from collections.abc import Mapping
from typing import Any, Unpack

from producers.client import flows, requests, uploads
from producers.client.binding import call
from producers.client.flows import Flow, JobWatcher
from producers.client.models import TOLERANT, Job
from producers.client.requests import SubmitOptions
from producers.client.uploads import SentWatcher, Source
from schemas.kinds.training import TrainingResult


class Training(TrainingResult):
    """What a training made, and the id of its job."""

    model_config = TOLERANT

    job: str


def submitted(
    kind: str,
    asked: dict[str, Any],
    dataset: Source,
    validation: Source | None,
    filename: str | None,
    progress: SentWatcher | None,
    options: SubmitOptions,
) -> Flow[Job]:
    """Upload the examples and submit a job of this kind, whose input names them beside what is `asked`."""
    with uploads.opened(dataset, filename, progress) as (name, file):
        asked["dataset"] = (yield requests.upload(name, file, "fine-tune")).id
    if validation is not None:
        with uploads.opened(validation, None, progress) as (name, file):
            asked["validation"] = (yield requests.upload(name, file, "fine-tune")).id
    job: Job = yield requests.submit(kind, asked, options)
    return job


class TrainingCalls:
    """The calls of `Client` and `AsyncClient` for training."""

    @call
    def train(
        self,
        dataset: Source,
        base_model: str = "default",
        *,
        validation: Source | None = None,
        filename: str | None = None,
        progress: SentWatcher | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Flow[Job]:
        """Upload a dataset, and a validation file if there is one, and submit a training of the model on it.

        `settings`: the other fields of the kind's input, such as `method`, `adapter`, `hyperparameters` and
        `register_as`. `training` waits for what it makes.
        """
        asked: dict[str, Any] = {**(settings or {}), "base_model": base_model}
        return (yield from submitted("training", asked, dataset, validation, filename, progress, options))

    @call
    def training(self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None) -> Flow[Training]:
        """What a training made, once it has succeeded. Raises `JobFailed`, and `WaitTimeout`."""
        job = yield from flows.wait(id, timeout=timeout, on_change=on_change)
        result = yield from flows.finish(job, timeout=timeout)
        return Training.model_validate({**result, "job": job.id})
