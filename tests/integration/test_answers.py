"""Answers are found by their address as long as their jobs are kept, by their tenant alone."""

import hashlib
import json
from uuid import uuid4

from consumers.stages.ports import ChildSummary, KnownAnswer
from infra.postgres.answers import PostgresAnswers
from infra.postgres.catalogue.reader import PostgresCatalogueReader
from infra.postgres.catalogue.writer import PostgresCatalogueWriter
from infra.postgres.children import PostgresChildren
from schemas.catalogue import StoredDocument
from schemas.collections import CollectionSettings
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs


def address(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


async def succeeded(jobs: Jobs, answer: str, **changes: object) -> object:
    job_id, epoch = await jobs.running(**changes)
    await jobs.finish(job_id, epoch, JobState.SUCCEEDED, result=json.dumps({"answer": answer}))
    return job_id


async def test_an_answer_is_found_by_its_tenant_until_its_job_is_removed(jobs: Jobs) -> None:
    answers = PostgresAnswers(jobs.database, KnownAnswer)
    first, second = await succeeded(jobs, "1"), await succeeded(jobs, "2")
    foreign = await succeeded(jobs, "3", tenant="other")
    failed, epoch = await jobs.running()
    await jobs.finish(failed, epoch, JobState.FAILED, error="{}", code="x")
    given = {address("a"): first, address("b"): foreign, address("c"): failed, address("d"): uuid4()}
    await answers.remember("default", given)  # type: ignore[arg-type]
    wanted = [address(text) for text in "abcd"]
    assert await answers.find("default", wanted) == {address("a"): KnownAnswer("noop", {"answer": "1"})}
    assert await answers.find("other", wanted) == {}
    await answers.remember("default", {address("a"): second})  # type: ignore[dict-item]
    assert (await answers.find("default", wanted))[address("a")].result == {"answer": "2"}
    await jobs.fetch("DELETE FROM job WHERE id = $1", second)
    assert await answers.find("default", wanted) == {}


async def test_children_that_may_be_tried_again_are_given_in_their_order_with_all_they_were_made_with(
    jobs: Jobs,
) -> None:
    parent, epoch = await jobs.running()
    children = await jobs.fan_out(parent, epoch, 4, max_attempts=2, timeout_s=7)
    for child, retryable in zip(children, (True, False, None, True), strict=True):
        [row] = await jobs.claim(child)
        error = json.dumps({"code": "x", "retryable": retryable})
        how = {} if retryable is None else {"error": error, "code": "x"}
        state = JobState.SUCCEEDED if retryable is None else JobState.FAILED
        await jobs.finish(child, row.epoch, state, **how)
    found = [one async for one in PostgresChildren(jobs.database, ChildSummary).failed(parent, 1)]
    assert [(one.key, one.input, one.max_attempts, one.timeout_s) for one in found] == [
        ("0", {"steps": 1}, 2, 7),
        ("3", {"steps": 4}, 2, 7),
    ]
    assert [one async for one in PostgresChildren(jobs.database, ChildSummary).failed(parent, 2)] == []


async def test_a_collections_content_is_another_after_every_change(jobs: Jobs) -> None:
    reader, writer = PostgresCatalogueReader(jobs.database), PostgresCatalogueWriter(jobs.database)
    assert await reader.content("default", "c") is None
    [job] = await jobs.submit()
    settings = CollectionSettings()
    record, version = await writer.begin(job, "default", "c", settings=settings, encoder="e", embedder=None)
    seen = [await reader.content("default", "c")]
    document = StoredDocument("d", version, "hash", 1, 1, ("blob", 0, 1))
    await writer.expect_source("blob", job)
    await writer.record("default", "c", record.generation, version, [document])
    seen.append(await reader.content("default", "c"))
    await writer.change("default", "c", {"fusion": {"method": "rrf"}})
    seen.append(await reader.content("default", "c"))
    await writer.forget("default", "c", version, ["d"])
    seen.append(await reader.content("default", "c"))
    assert len(set(seen)) == 4
    assert await reader.content("default", "c") == seen[-1]
