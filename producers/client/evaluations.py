"""Calls for evaluations: submit one, wait for its figures, compare two runs, calibrate a judge; for both clients."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from producers.client import flows, requests, uploads
from producers.client.binding import call
from producers.client.flows import Flow, JobWatcher
from producers.client.models import TOLERANT, File, Job
from producers.client.requests import SubmitOptions
from producers.client.uploads import SentWatcher, Source
from schemas.kinds.calibration import CalibrationResult
from schemas.kinds.evaluation.result import EvaluationResult


class Evaluation(EvaluationResult):
    """What an evaluation found out, and the id of its job."""

    model_config = TOLERANT

    job: str


class Calibration(CalibrationResult):
    """How far a judge agrees with people, and the id of the job that found it out."""

    model_config = TOLERANT

    job: str


class EvaluationCalls:
    """The calls of `Client` and `AsyncClient` for evaluations."""

    @call
    def evaluate(
        self,
        dataset: Source | File | Sequence[Mapping[str, Any]],
        collection: str | None = None,
        variants: Sequence[Mapping[str, Any]] = (),
        *,
        columns: Mapping[str, Any] | None = None,
        filename: str | None = None,
        progress: SentWatcher | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Flow[Job]:
        """Submit an evaluation of a table of questions, here or uploaded, or of up to 1,000 items. `evaluation` waits.

        `columns` name those of the table that have other names than the usual ones. `settings`: the other fields of
        the kind's input, such as `metrics`, `gates`, `breakdown` and `language`.
        """
        asked: dict[str, Any] = {**(settings or {}), **requests.given(collection=collection)}
        if variants:
            asked["variants"] = [dict(one) for one in variants]
        if isinstance(dataset, Sequence) and not isinstance(dataset, str | bytes):
            asked["items"] = [dict(item) for item in dataset]
        elif isinstance(dataset, File):
            asked["dataset"] = {"file": dataset.id, **(columns or {})}
        else:
            with uploads.opened(dataset, filename, progress) as (name, file):
                uploaded = yield requests.upload(name, file, "evals")
            asked["dataset"] = {"file": uploaded.id, **(columns or {})}
        submitted: Job = yield requests.submit("evaluation", asked, options)
        return submitted

    @call
    def evaluation(
        self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None
    ) -> Flow[Evaluation]:
        """The figures of an evaluation once it has succeeded.

        Raises `JobFailed`, `WaitTimeout`, and `ValueError` for a job of another kind.
        """
        job = yield from flows.wait(id, timeout=timeout, on_change=on_change)
        if job.kind != "evaluation":
            raise ValueError(f"{id} is a job of kind {job.kind!r}, not an evaluation")
        result = yield from flows.finish(job, timeout=timeout)
        return Evaluation.model_validate({**result, "job": job.id})

    @call
    def compare_runs(
        self,
        runs: Mapping[str, Evaluation],
        *,
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Flow[Job]:
        """Submit a comparison of evaluations that exist, by the names to give them; the first is the baseline.

        Of each its first variant is compared. Raises `ValueError` for one that is itself a comparison.
        """
        for name, run in runs.items():
            if run.items_file is None:
                raise ValueError(f"{name} ({run.job}) is a comparison and has no items of its own")
        named = [{"name": name, "items_file": run.items_file} for name, run in runs.items()]
        submitted: Job = yield requests.submit("evaluation", {**(settings or {}), "runs": named}, options)
        return submitted

    @call
    def calibrate(
        self,
        items: Sequence[Mapping[str, Any]],
        judge: Mapping[str, Any] | None = None,
        *,
        grader: Mapping[str, Any] | None = None,
        metric: str | None = None,
        threshold: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Flow[Job]:
        """Submit answers that people have judged, up to 1,000, to see how far a judge agrees. `calibration` waits.

        Each item has `question`, `answer` and `human`, and may have `reference` and `contexts`. What the judge is asked
        is either a `grader` of type `score_model` or `label_model`, or a `metric` of RAGAS.
        """
        asked = requests.given(judge=judge, grader=grader, metric=metric, threshold=threshold)
        asked["items"] = [dict(item) for item in items]
        submitted: Job = yield requests.submit("calibration", asked, options)
        return submitted

    @call
    def calibration(
        self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None
    ) -> Flow[Calibration]:
        """How far the judge agrees, once the job has succeeded. Raises `JobFailed`, and `WaitTimeout`."""
        job = yield from flows.wait(id, timeout=timeout, on_change=on_change)
        result = yield from flows.finish(job, timeout=timeout)
        return Calibration.model_validate({**result, "job": job.id})
