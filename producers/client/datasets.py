"""Calls for datasets: keep versions of one, check how good it is, have one written. Written once for both clients.

A dataset is an uploaded file. Files of one name are its versions, and the sha256 of its bytes names a version.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, Unpack

from producers.client import flows, requests, uploads
from producers.client.binding import call
from producers.client.errors import WelipError
from producers.client.flows import Flow, JobWatcher
from producers.client.models import TOLERANT, File, Job, Page
from producers.client.requests import Request, SubmitOptions
from producers.client.uploads import SentWatcher, Source
from schemas.kinds.dataset import DatasetResult
from schemas.kinds.synthesis import SynthesisResult

PURPOSES: Final = ("evals", "fine-tune")
"""The purposes of files that are datasets."""

_ID: Final = re.compile(r"file_[0-9a-f]{32}")
_NAMED: Final = re.compile(r"(?P<name>.+?)(?:@(?P<version>[0-9a-f]{6,64}))?")


class DatasetNotFound(WelipError):
    """No dataset of the server has this name, or this version."""


class DatasetQuality(DatasetResult):
    """How good a dataset is, and the id of the job that found it out."""

    model_config = TOLERANT

    job: str


class Synthesis(SynthesisResult):
    """Questions that a model wrote, and the id of the job that had them written."""

    model_config = TOLERANT

    job: str


class DatasetCalls:
    """The calls of `Client` and `AsyncClient` for datasets."""

    @call
    def add_dataset(
        self,
        source: Source,
        *,
        purpose: str = "evals",
        filename: str | None = None,
        progress: SentWatcher | None = None,
    ) -> Flow[File]:
        """The dataset's version with this content: uploaded, unless it is there already. `purpose`: or `fine-tune`."""
        with uploads.opened(source, filename, progress) as (name, file):
            sha256 = _sha256(file)
            known = yield from _named(name, (purpose,))
            if (same := next((one for one in known if one.sha256 == sha256), None)) is not None:
                return same
            sent: File = yield requests.upload(name, file, purpose)
        return sent

    @call
    def dataset(self, reference: str) -> Flow[File]:
        """The version that `NAME`, `NAME@VERSION` or `file_...` means; of a name alone, the newest.

        VERSION: the first 6 characters of its sha256 or more. Raises `DatasetNotFound`.
        """
        if _ID.fullmatch(reference):
            file: File = yield requests.file(reference)
            return file
        found = _NAMED.fullmatch(reference)
        name, version = (found["name"], found["version"]) if found else (reference, None)
        known = yield from _named(name, PURPOSES)
        wanted = [one for one in known if version is None or (one.sha256 or "").startswith(version)]
        if not wanted:
            there = ", ".join(version_of(one) for one in known[:5])
            raise DatasetNotFound(f"there is no dataset {reference!r}" + (f"; there are: {there}" if there else ""))
        return wanted[0]

    @call
    def datasets(self, name: str | None = None) -> Flow[list[File]]:
        """Every version of every dataset, or of the one of this name, the newest first."""
        return _named(name, PURPOSES)

    @call
    def check_dataset(
        self,
        dataset: str,
        *,
        columns: Mapping[str, Any] | None = None,
        against: str | None = None,
        collection: str | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Request[Job]:
        """Submit a check of an uploaded dataset, by its file's id. `dataset_quality` waits for what it finds.

        `columns` name those that have other names than the usual ones. `against`: the file of another dataset, whose
        rows this one must not share. `settings`: the other fields of the kind's input, such as `form`, `similarity`
        and `min_score`.
        """
        asked: dict[str, Any] = {**(settings or {}), "dataset": {"file": dataset, **(columns or {})}}
        if against is not None:
            asked["against"] = {"file": against, **(columns or {})}
        return requests.submit("dataset", asked | requests.given(collection=collection), options)

    @call
    def dataset_quality(
        self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None
    ) -> Flow[DatasetQuality]:
        """How good the dataset is, once the job has succeeded. Raises `JobFailed`, and `WaitTimeout`."""
        job = yield from flows.wait(id, timeout=timeout, on_change=on_change)
        result = yield from flows.finish(job, timeout=timeout)
        return DatasetQuality.model_validate({**result, "job": job.id})

    @call
    def synthesize(
        self,
        collection: str,
        count: int = 100,
        *,
        model: str = "default",
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Request[Job]:
        """Have a model write questions about a collection. `synthesis` waits for them.

        `settings`: the other fields of the kind's input, such as `prompt`, `top_k`, `temperature` and `seed`.
        """
        asked: dict[str, Any] = {**(settings or {}), "collection": collection, "count": count, "model": model}
        return requests.submit("synthesis", asked, options)

    @call
    def synthesis(
        self, id: str, timeout: float | None = None, *, on_change: JobWatcher | None = None
    ) -> Flow[Synthesis]:
        """What was written, once the job has succeeded. Raises `JobFailed`, and `WaitTimeout`."""
        job = yield from flows.wait(id, timeout=timeout, on_change=on_change)
        result = yield from flows.finish(job, timeout=timeout)
        return Synthesis.model_validate({**result, "job": job.id})


def version_of(file: File) -> str:
    """`questions.jsonl@3f2a9c1b04de`: a name that means this version, whatever is uploaded later."""
    return f"{file.filename}@{(file.sha256 or '')[:12]}"


def _named(name: str | None, purposes: tuple[str, ...]) -> Flow[list[File]]:
    """The files of these purposes, and of this name if one is given, the newest first."""
    found: list[File] = []
    for purpose in purposes:
        after: str | None = None
        while True:
            page: Page[File] = yield requests.files(after=after, limit=None, purpose=purpose)
            found += [one for one in page.data if name in (None, one.filename)]
            if not page.has_more or not page.data:
                break
            after = page.data[-1].id
    return sorted(found, key=lambda one: one.id, reverse=True)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()
