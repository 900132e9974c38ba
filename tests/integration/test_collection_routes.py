"""`/v1/collections/{name}` in this process, on real Postgres: how a rebuild is shown, and the effects of a change."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from infra.settings import (
    LimitSettings,
    PostgresSettings,
)
from schemas.collections import CollectionSettings, CollectionView
from schemas.ids import parsed, shown
from tests.integration.gateways import gateway_app
from tests.integration.jobs import Jobs
from tests.integration.whole_catalogue import PostgresCatalogue

K1 = {"sparse": {"k1": 0.9}}


@pytest.fixture
async def http(postgres: PostgresSettings, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway without agents; a tenant may submit three times, and after that hardly at all."""
    app = gateway_app(postgres, tmp_path, limit=LimitSettings(rate=0.001, burst=3, waiting=0))
    async with app.router.lifespan_context(app):
        await app.state.services.database.opened.wait()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            yield client


@pytest.fixture
async def made(jobs: Jobs) -> PostgresCatalogue:
    """An empty collection `ko`."""
    catalogue = PostgresCatalogue(jobs.database)
    [job] = await jobs.submit()
    await catalogue.begin(job, "default", "ko", settings=CollectionSettings(), encoder="kiwi", embedder=None)
    return catalogue


async def look(http: httpx.AsyncClient) -> CollectionView:
    return CollectionView.model_validate((await http.get("/v1/collections/ko")).json())


async def test_a_rebuild_is_shown_while_its_job_lives(
    http: httpx.AsyncClient, jobs: Jobs, made: PostgresCatalogue
) -> None:
    assert (await look(http)).rebuild is None
    [job] = await jobs.submit()
    await made.start_building(job, "default", "ko", K1, encoder="kiwi", embedder=None)
    found = await look(http)
    assert found.rebuild is not None
    assert (found.rebuild.job, found.rebuild.links) == (shown("job", job), {"job": f"/v1/jobs/{shown('job', job)}"})
    assert (found.settings.sparse.k1, found.rebuild.settings.sparse.k1) == (0.6, 0.9)
    assert (await http.post(f"/v1/jobs/{shown('job', job)}/cancel")).status_code == 202
    assert (await look(http)).rebuild is None, "the index that it leaves behind is nobody's"


@pytest.mark.parametrize(
    ("body", "lane"),
    [
        ({"settings": K1}, "bulk"),
        ({"rebuild": True}, "bulk"),
        ({"settings": {"sparse": {"k1": 0.6}}}, "interactive"),
        ({"settings": {"fusion": {"depth": 10}}}, "interactive"),
    ],
)
async def test_a_change_becomes_a_job_with_what_was_sent_and_no_more(
    http: httpx.AsyncClient, jobs: Jobs, made: PostgresCatalogue, body: dict[str, object], lane: str
) -> None:
    answer = await http.patch("/v1/collections/ko", json=body)
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], job["lane"], answer.headers["location"]) == ("indexing", lane, job["links"]["self"])
    row = await jobs.row(parsed("job", job["id"]))
    given = {"collection": "ko", "settings": None, "rebuild": False, **body}
    assert {name: value for name, value in json.loads(row["input"]).items() if name in given} == given


async def test_changes_count_as_submissions(http: httpx.AsyncClient, made: PostgresCatalogue) -> None:
    answers = [await http.patch("/v1/collections/ko", json={"rebuild": True}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
