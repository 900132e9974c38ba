"""What ended long enough ago is removed, in small batches; what anybody still needs stays."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from infra.blobs.folder import FolderBlobs
from infra.postgres.database import Database
from infra.postgres.queries import files, uploads
from infra.postgres.queries import retention as statements
from infra.postgres.queries.files import NewFile
from infra.settings import RetentionSettings
from producers.retention import Retention
from schemas.errors import DependencyUnavailable
from schemas.lifecycle import JobState
from tests.integration.aged import Past, id_of
from tests.integration.jobs import Jobs, new_job


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path)


@pytest.fixture
def past(jobs: Jobs, blobs: FolderBlobs) -> Past:
    return Past(jobs, blobs)


@pytest.fixture
def retention(database: Database, blobs: FolderBlobs) -> Retention:
    return Retention(database, blobs, RetentionSettings())


def keeping(database: Database, blobs: Any, **periods: Any) -> Retention:
    return Retention(database, blobs, RetentionSettings(**periods))


NOW = timedelta(microseconds=1)


async def test_jobs_that_ended_long_ago_go_with_their_events_however_they_ended(
    past: Past, retention: Retention
) -> None:
    old = [await past.job(state=state) for state in (JobState.SUCCEEDED, JobState.CANCELLED)]
    young = await past.job(days=29)
    live = await past.job(state=None)
    running, _ = await past.jobs.running(id=id_of(50))
    late = await past.job(days=50, ended=1)
    assert await retention.round() == {"jobs": 2}
    assert await past.left() == {young, live, running, late}
    told = {row["job_id"] for row in await past.jobs.fetch("SELECT job_id FROM job_event")}
    assert not told & set(old)
    assert {young, late} <= told
    assert await retention.round() == {}


async def test_zero_keeps_for_ever(past: Past, database: Database, blobs: FolderBlobs) -> None:
    job = await past.job(days=4000)
    nothing = timedelta(0)
    assert await keeping(database, blobs, jobs=nothing, deliveries=nothing, dead_letters=nothing).round() == {}
    assert await past.left() == {job}


async def test_files_of_a_removed_job_go_and_so_do_blobs_that_failed_tries_left(
    past: Past, retention: Retention
) -> None:
    job, other = await past.job(), await past.job(days=1)
    await past.result(job, epoch=2)
    await past.result(job, epoch=1, row=False)
    bare = await past.job()
    await past.result(bare, row=False)
    kept = await past.result(other)
    assert await retention.round() == {"jobs": 2, "blobs": 3}
    assert await past.left("file") == {kept}
    assert await past.folders() == [other.hex]
    assert await past.jobs.fetch("SELECT blob FROM blob_garbage") == []


async def test_a_job_that_somebody_must_still_decide_about_or_hear_of_stays(past: Past, retention: Retention) -> None:
    dead, requeued, unheard, heard = [await past.job() for _ in range(4)]
    for job, requeued_at in ((dead, None), (requeued, "now")):
        await past.jobs.fetch(
            "INSERT INTO dead_letter (source, tenant, job_id, reason, error, requeued_at)"
            " VALUES ('job', 'default', $1, 'x', '{}', $2::text::timestamptz)",
            job,
            requeued_at,
        )
    for job, state in ((unheard, "pending"), (heard, "delivered")):
        await past.jobs.fetch(
            "INSERT INTO webhook_delivery (tenant, url, destination, job_id, type, data, state, ended_at)"
            " VALUES ('default', 'u', 'd', $1, 'job.succeeded', '{}', $2, now())",
            job,
            state,
        )
    assert await retention.round() == {"jobs": 2}
    assert await past.left() == {dead, unheard}
    await past.jobs.fetch("UPDATE webhook_delivery SET state = 'delivered', ended_at = now()")
    await past.jobs.fetch("DELETE FROM dead_letter")
    assert await retention.round() == {}, "what was passed waits for the next look back"
    assert await Retention(past.jobs.database, past.blobs, RetentionSettings()).round() == {"jobs": 2}


async def test_a_letter_of_a_child_keeps_the_whole_tree(past: Past, retention: Retention) -> None:
    parent, children = await past.tree(3)
    await past.jobs.fetch(
        "INSERT INTO dead_letter (source, tenant, job_id, reason, error) VALUES ('job', 'default', $1, 'x', '{}')",
        children[1],
    )
    assert await retention.round() == {}
    assert await past.left() == {parent, *children}


async def test_old_letters_and_deliveries_expire_by_themselves(past: Past, retention: Retention) -> None:
    for days, state in ((40, "delivered"), (40, "pending"), (3, "failed")):
        await past.jobs.fetch(
            "WITH d AS (INSERT INTO webhook_delivery (id, tenant, url, destination, type, data, state, ended_at)"
            " VALUES ($1, 'default', 'u', 'd', 'job.succeeded', '{}', $2, now() - make_interval(days => $3))"
            " RETURNING id) SELECT id FROM d",
            id_of(days),
            state,
            days,
        )
    await past.jobs.fetch("INSERT INTO webhook_attempt (delivery, attempt, ms) SELECT id, 1, 5 FROM webhook_delivery")
    for days in (100, 50):
        await past.jobs.fetch(
            "INSERT INTO dead_letter (id, source, reason, error, created_at)"
            " VALUES ($1, 'message', 'x', '{}', now() - make_interval(days => $2))",
            id_of(days),
            days,
        )
    assert await retention.round() == {"deliveries": 1, "dead_letters": 1}
    states = {row["state"] for row in await past.jobs.fetch("SELECT state FROM webhook_delivery")}
    assert states == {"pending", "failed"}
    [attempts] = await past.jobs.fetch("SELECT count(*) AS n FROM webhook_attempt")
    assert attempts["n"] == 2
    assert len(await past.left("dead_letter")) == 1


async def test_a_tree_goes_as_a_whole_a_page_at_a_time(past: Past, database: Database, blobs: FolderBlobs) -> None:
    parent, children = await past.tree(25)
    [grandparent] = await past.jobs.submit(id=id_of(41))
    await past.jobs.fetch("UPDATE job SET parent = $1 WHERE id = $2", grandparent, parent)
    await past.jobs.end(grandparent)
    await past.back(grandparent, 40)
    await past.result(children[3], row=False)
    assert await keeping(database, blobs, batch=10).round() == {"jobs": 27, "blobs": 1}
    assert await past.left() == set()
    assert await past.jobs.fetch("SELECT 1 FROM job_event") == []


async def test_a_tree_in_which_something_lives_stays(past: Past, retention: Retention) -> None:
    parent, children = await past.tree(3)
    await past.jobs.fetch("UPDATE job SET state = 'running', finished_at = NULL WHERE id = $1", children[2])
    assert await retention.round() == {}
    assert await past.left() == {parent, *children}


def indexing(*file_ids: UUID) -> dict[str, str]:
    documents = [{"id": str(n), "file": f"file_{file.hex}"} for n, file in enumerate(file_ids)]
    return {"kind": "indexing", "stage": "plan", "input": json.dumps({"collection": "c", "documents": documents})}


@pytest.mark.parametrize("state", [None, JobState.SUCCEEDED])
async def test_a_job_whose_result_another_job_names_stays_with_it(
    past: Past, retention: Retention, state: JobState | None
) -> None:
    maker, plain = await past.job(), await past.job()
    result = await past.result(maker)
    await past.result(plain)
    user = await past.job(10, state, **indexing(result))
    assert await retention.round() == {"jobs": 1, "blobs": 1}
    assert await past.left() == {maker, user}
    assert await past.left("file") == {result}
    assert await past.folders() == [maker.hex]


async def test_uploads_expire_only_by_a_policy_and_never_while_a_job_names_them(
    past: Past, database: Database, blobs: FolderBlobs, retention: Retention
) -> None:
    used_live, used_kept, unused, young = [await past.upload(days) for days in (40, 40, 40, 1)]
    live = await past.job(20, None, **indexing(used_live))
    kept = await past.job(35, JobState.SUCCEEDED, ended=1, **indexing(used_kept))
    assert await retention.round() == {}
    assert await keeping(database, blobs, uploads=timedelta(days=10)).round() == {"uploads": 1, "blobs": 1}
    assert await past.left("file") == {used_live, used_kept, young}
    assert unused.hex not in await past.folders(of="files")
    await past.back(kept, 31)
    assert await keeping(database, blobs, uploads=timedelta(days=10)).round() == {"jobs": 1, "uploads": 1, "blobs": 1}
    assert await past.left("file") == {used_live, young}
    assert await past.left() == {live}


async def test_a_name_that_another_tenants_job_mentions_does_not_keep_a_file(
    past: Past, database: Database, blobs: FolderBlobs
) -> None:
    upload = await past.upload()
    await past.job(20, None, tenant="other", **indexing(upload))
    await past.upload(tenant="other")
    removed = await keeping(database, blobs, uploads=timedelta(days=10)).round()
    assert removed == {"uploads": 2, "blobs": 2}
    assert await past.folders("other", "files") == []


class BrokenBlobs(FolderBlobs):
    """Storage that goes away before the first blob is deleted."""

    async def delete(self, prefix: str) -> int:
        raise DependencyUnavailable("away")


async def test_a_crash_between_rows_and_blobs_forgets_no_blob(
    past: Past, database: Database, blobs: FolderBlobs, tmp_path: Path
) -> None:
    job = await past.job()
    await past.result(job)
    with pytest.raises(DependencyUnavailable):
        await keeping(database, BrokenBlobs(tmp_path)).round()
    assert await past.left() == set()
    assert await past.folders() == [job.hex]
    assert await keeping(database, blobs).round() == {"blobs": 1}
    assert await past.folders() == []


async def test_only_what_was_noted_is_ever_deleted(past: Past, retention: Retention) -> None:
    for key in (f"default/jobs/{id_of(90).hex}/1/x", f"default/files/{id_of(90).hex}", "elsewhere/backup"):
        await past.blobs.put(key, b"of another database")
    await past.job()
    assert await retention.round() == {"jobs": 1}
    assert len(await past.folders()) == len(await past.folders(of="files")) == 1


async def test_an_upload_that_broke_off_is_deleted_a_day_later_and_its_row_never_comes(
    past: Past, database: Database, retention: Retention
) -> None:
    late, slow, gone = [f"default/files/{id_of(0).hex}" for _ in range(3)]

    def file(blob: str) -> NewFile:
        about = {"filename": "f", "purpose": "p", "content_type": "t", "sha256": "0"}
        return NewFile(id=id_of(0), tenant="default", bytes=1, blob=blob, **about)

    async with database.connection() as connection:
        for blob in (late, slow, gone):
            await files.expect(connection, blob)
            await past.blobs.put(blob, b"x")
        assert await retention.round() == {}
        recorded = await files.add_expected(connection, file(slow))
        assert recorded is not None
        await connection.execute("UPDATE blob_garbage SET due_at = now() WHERE blob = $1", gone)
        assert await retention.round() == {"blobs": 1}
        assert await files.add_expected(connection, file(gone)) is None
    assert {f"default/files/{name}" for name in await past.folders(of="files")} == {late, slow}
    assert [row["blob"] for row in await past.jobs.fetch("SELECT blob FROM file")] == [slow]


async def test_files_expire_when_their_owner_said_even_if_jobs_name_them(past: Past, retention: Retention) -> None:
    expired, named, living = [await past.upload(1) for _ in range(3)]
    await past.jobs.submit(input=json.dumps({"documents": [{"id": "d", "file": f"file_{named.hex}"}]}))
    await past.jobs.fetch("UPDATE file SET expires_at = now() WHERE id = ANY($1)", [expired, named])
    await past.jobs.fetch("UPDATE file SET expires_at = now() + '1 h' WHERE id = $1", living)
    assert await retention.round() == {"expired_files": 2, "blobs": 2}
    assert await past.folders(of="files") == [living.hex]
    assert await past.left("file") == {living}


async def test_uploads_in_parts_are_forgotten_a_day_after_they_took_parts(past: Past, retention: Retention) -> None:
    old, young = uuids.uuid7(), uuids.uuid7()
    async with past.jobs.database.connection() as connection:
        for upload, open_s in (old, -25 * 3600.0), (young, 3600.0):
            await uploads.begin(
                connection,
                upload,
                "default",
                filename="a",
                purpose="batch",
                content_type="text/plain",
                size=1,
                lives_s=None,
                open_s=open_s,
            )
        assert await uploads.add_part(connection, uuids.uuid7(), old, 1, "b") is None, "it takes parts no more"
        assert await uploads.add_part(connection, uuids.uuid7(), young, 1, "c") is not None
    assert await retention.round() == {"unfinished_uploads": 1}
    assert [row["id"] for row in await past.jobs.fetch("SELECT id FROM upload")] == [young]


async def test_two_processes_that_remove_at_once_do_not_disturb_each_other(
    past: Past, database: Database, blobs: FolderBlobs
) -> None:
    for _ in range(20):
        await past.job()
    young = await past.job(1)
    rounds = await asyncio.gather(*(keeping(database, blobs, batch=3).round() for _ in range(3)))
    again = await keeping(database, blobs, batch=3).round()
    assert sum(removed.get("jobs", 0) for removed in [*rounds, again]) == 20
    assert await past.left() == {young}


async def test_one_leads_and_the_others_stand_by(past: Past, database: Database, retention: Retention) -> None:
    job = await past.job()
    async with database.unit_of_work() as connection:
        assert await statements.lead(connection)
        assert await retention.round() == {}
    assert await past.left() == {job}
    assert await retention.round() == {"jobs": 1}


async def test_after_a_removal_the_same_idempotency_key_makes_a_new_job(past: Past, retention: Retention) -> None:
    job = await past.job(idempotency_key="k", fingerprint=b"f")
    assert await past.jobs.make(new_job(idempotency_key="k", fingerprint=b"f")) == [None]
    await retention.round()
    assert await past.left() == set()
    [made] = await past.jobs.make(new_job(idempotency_key="k", fingerprint=b"f"))
    assert made is not None
    assert job not in await past.left()


async def test_submissions_and_claims_go_on_while_much_is_removed(
    past: Past, database: Database, blobs: FolderBlobs
) -> None:
    await past.jobs.fetch(
        "WITH made AS (INSERT INTO job (id, tenant, kind, stage, lane, state, max_attempts, input, finished_at)"
        " SELECT uuidv7(interval '-40 days'), 'default', 'noop', 'run', 'interactive', 'succeeded', 5, '{}',"
        " now() - interval '40 days' FROM generate_series(1, 5000) RETURNING id)"
        " INSERT INTO job_event (job_id, type, data) SELECT id, 'state', '{}' FROM made"
    )
    removing = asyncio.create_task(keeping(database, blobs, batch=500).round())
    done: list[UUID] = []
    while not removing.done():
        [job] = await past.jobs.submit()
        await past.jobs.end(job)
        done.append(job)
    assert await removing == {"jobs": 5000}
    assert await past.left() == set(done)
    assert len(done) > 2, "they waited until everything was removed"


class Counted:
    """Counts the jobs that retention reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = 0
        ask = statements.jobs

        async def counted(connection: Any, stretch: statements.Stretch) -> Sequence[Any]:
            rows = await ask(connection, stretch)
            self.read += len(rows)
            return rows

        monkeypatch.setattr(statements, "jobs", counted)


async def test_what_was_passed_is_not_read_again_each_round(
    past: Past, database: Database, blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(7):
        await past.job(days=50, ended=1)
    counted = Counted(monkeypatch)
    agent = keeping(database, blobs, batch=2)
    await agent.round()
    assert counted.read == 7
    for _ in range(3):
        await agent.round()
    assert counted.read == 7


async def test_the_agent_goes_on_after_storage_or_postgres_were_away(
    past: Past, database: Database, tmp_path: Path
) -> None:
    class Once(FolderBlobs):
        failed = False

        async def delete(self, prefix: str) -> int:
            if not self.failed:
                self.failed = True
                raise DependencyUnavailable("away")
            return await super().delete(prefix)

    job = await past.job()
    await past.result(job)
    running = asyncio.create_task(keeping(database, Once(tmp_path), every=timedelta(milliseconds=20)).run())
    try:
        async with asyncio.timeout(60):
            while await past.folders():
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
    assert await past.left() == set()
