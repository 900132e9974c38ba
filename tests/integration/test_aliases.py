"""Aliases against a real Postgres: steps of the ledger, jobs that name an alias, and canaries that are compared."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import uuid_utils.compat as uuids

from infra.postgres.database import Database
from infra.postgres.keys import digest
from infra.postgres.queries import aliases, keys, submit
from infra.settings import (
    PostgresSettings,
)
from producers.aliases import AliasKeeper
from producers.arms import FIRST_LOOK
from schemas.models import Models, ModelsFile
from tests.integration.gateways import gateway_app
from tests.integration.jobs import Jobs, new_job

ROWS = [
    {"name": "small", "engine": "openai", "url": "http://127.0.0.1:1", "adapters": {"tuned": "t"}},
    {"name": "large", "engine": "openai", "url": "http://127.0.0.1:1"},
    {"name": "vec", "engine": "openai", "url": "http://127.0.0.1:1", "tasks": ["embeddings"]},
]
MODELS = Models(tuple(ModelsFile.model_validate({"models": ROWS}).models))
TALK = [{"role": "user", "content": "안녕\u0000"}]  # Postgres's jsonb takes no NUL
STEPS = "/v1/models/aliases/support"


@pytest.fixture
async def tenants(
    postgres: PostgresSettings, database: Database, tmp_path: Path
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Two tenants of one gateway, by their clients."""
    app = gateway_app(postgres, tmp_path / "blobs", auth="on", models=MODELS)
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(app.router.lifespan_context(app))
        await app.state.services.database.opened.wait()
        clients = []
        for tenant in ("ours", "theirs"):
            async with database.connection() as connection:
                await keys.create(connection, uuid4(), tenant, f"laptop of {tenant}", "welip_x", digest(tenant))
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://127.0.0.1",
                headers={"authorization": f"Bearer {tenant}"},
            )
            clients.append(await exits.enter_async_context(client))
        yield clients[0], clients[1]


@pytest.fixture
async def http(tenants: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> httpx.AsyncClient:
    return tenants[0]


async def promote(http: httpx.AsyncClient, model: str, expected: str | None, **fields: Any) -> httpx.Response:
    forced = {"force": True, "reason": "it was tried by hand"} if not fields and expected is not None else {}
    return await http.post(f"{STEPS}/promote", json={"model": model, "expected": expected, **forced, **fields})


async def moved(http: httpx.AsyncClient, *models: str) -> None:
    before = None
    for model in models:
        answer = await promote(http, model, before)
        assert answer.status_code == 200, answer.text
        before = answer.json()["model"]


async def asked(http: httpx.AsyncClient, model: str = "support") -> dict[str, Any]:
    answer = await http.post("/v1/jobs", json={"kind": "generation", "input": {"messages": TALK, "model": model}})
    assert answer.status_code == 202, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def row(database: Database, job: str) -> asyncpg.Record:
    async with database.connection() as connection:
        found = await connection.fetchrow(
            "SELECT model, alias, alias_model, epoch, state, input, (SELECT json_agg(o.model || ' ' || o.epoch"
            " ORDER BY o.id) FROM outbox o WHERE o.job_id = job.id) AS summoned FROM job WHERE id = $1",
            UUID(job.removeprefix("job_")),
        )
    assert found is not None
    return found


def keeper(database: Database) -> AliasKeeper:
    return AliasKeeper(database, MODELS, lambda: None)


async def test_an_alias_is_moved_and_every_step_is_in_the_ledger(http: httpx.AsyncClient, database: Database) -> None:
    made = await promote(http, "small", None)
    assert (made.status_code, made.json()["model"]) == (200, "small"), made.text
    assert (await promote(http, "large", "small")).json()["model"] == "large"
    back = (await http.post(f"{STEPS}/rollback", json={"reason": "답이 나빠졌다"})).json()
    assert (back["model"], back["entry"]["action"], back["entry"]["previous"]) == ("small", "rolled_back", "large")
    empty = await http.post(f"{STEPS}/rollback", json={})
    assert (empty.status_code, empty.json()["code"]) == (409, "nothing_to_roll_back")
    ledger = (await http.get(f"{STEPS}/ledger", params={"limit": 2})).json()
    assert ledger["has_more"] is True
    rest = (await http.get(f"{STEPS}/ledger", params={"after": ledger["data"][-1]["id"]})).json()
    steps = [*ledger["data"], *rest["data"]]
    assert [(one["action"], one["previous"], one["model"], one["forced"]) for one in steps] == [
        ("rolled_back", "large", "small", False),
        ("promoted", "small", "large", True),
        ("promoted", None, "small", False),
    ]
    assert {one["by"] for one in steps} == {"laptop of ours"}
    for statement in ("UPDATE model_promotion SET model = 'other'", "DELETE FROM model_promotion"):
        async with database.connection() as connection:
            with pytest.raises(asyncpg.RaiseError, match="only added"):
                await connection.execute(statement)
    assert (await http.delete(STEPS)).json()["deleted"] is True
    assert (await http.get(STEPS)).status_code == 404
    assert len((await http.get(f"{STEPS}/ledger")).json()["data"]) == 4


async def test_of_promotions_that_expect_the_same_one_wins(http: httpx.AsyncClient) -> None:
    first = await asyncio.gather(*(promote(http, model, None) for model in ("small", "large", "small:tuned")))
    assert sorted(one.status_code for one in first) == [200, 409, 409]
    [champion] = [one.json()["model"] for one in first if one.status_code == 200]
    others = [model for model in ("small", "large", "small:tuned") if model != champion]
    answers = await asyncio.gather(*(promote(http, model, champion) for model in others * 5))
    assert sorted(one.status_code for one in answers) == [200] + [409] * 9
    assert {one.json()["code"] for one in answers if one.status_code == 409} <= {"champion_changed", "already_champion"}
    assert len((await http.get(f"{STEPS}/ledger")).json()["data"]) == 2


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"model": "large", "expected": "small"}, 422, "gate_required", "evaluation"),
        ({"model": "large", "expected": None}, 409, "champion_changed", "'small'"),
        ({"model": "large", "expected": "other"}, 409, "champion_changed", "'small'"),
        ({"model": "gone", "expected": "small"}, 422, "model_not_found", "small, large, vec"),
        ({"model": "small:gone", "expected": "small"}, 422, "adapter_not_found", "small:tuned"),
        ({"model": "support", "expected": "small"}, 422, "alias_of_alias", "'small'"),
        ({"model": "vec", "expected": "small"}, 422, "tasks_differ", "chat"),
        ({"model": "small", "expected": "small", "force": True, "reason": "r"}, 409, "already_champion", "already"),
        ({"model": "large", "expected": "small", "force": True}, 422, "invalid_input", "reason"),
        ({"model": "large", "expected": "small", "evaluation": f"job_{'0' * 32}"}, 404, "job_not_found", "job_0"),
    ],
)
async def test_a_promotion_that_may_not_be_is_refused_and_changes_nothing(
    http: httpx.AsyncClient, body: dict[str, Any], status: int, code: str, said: str
) -> None:
    await moved(http, "small")
    refused = await http.post(f"{STEPS}/promote", json=body)
    assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    assert said in refused.text
    assert (await http.get(STEPS)).json()["model"] == "small"
    assert len((await http.get(f"{STEPS}/ledger")).json()["data"]) == 1


async def test_an_alias_has_no_models_name_and_a_model_goes_before_an_alias(http: httpx.AsyncClient) -> None:
    for name in ("small", "default"):
        refused = await http.post(f"/v1/models/aliases/{name}/promote", json={"model": "vec", "expected": None})
        assert (refused.status_code, refused.json()["code"]) == (422, "alias_taken")
    wrong = await http.post("/v1/models/aliases/a:b/promote", json={"model": "vec", "expected": None})
    assert wrong.status_code == 422
    refused = await http.post("/v1/jobs", json={"kind": "generation", "input": {"messages": TALK, "model": "suport"}})
    assert (refused.status_code, refused.json()["code"]) == (422, "model_not_found")
    await moved(http, "small")
    refused = await http.post("/v1/jobs", json={"kind": "generation", "input": {"messages": TALK, "model": "suport"}})
    assert "small, large, support" in refused.json()["detail"]


async def test_aliases_are_their_tenants_alone(tenants: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    ours, theirs = tenants
    await moved(ours, "small")
    assert [one["id"] for one in (await ours.get("/v1/models/aliases")).json()["data"]] == ["support"]
    [listed] = [one for one in (await ours.get("/v1/models")).json()["data"] if one["alias_of"]]
    assert (listed["id"], listed["alias_of"], listed["tasks"]) == ("support", "small", ["chat"])
    assert (await theirs.get("/v1/models/aliases")).json()["data"] == []
    assert not any(one["alias_of"] for one in (await theirs.get("/v1/models")).json()["data"])
    for path in (STEPS, "/v1/models/support/card"):
        assert (await theirs.get(path)).status_code == 404
    assert (await theirs.get(f"{STEPS}/ledger")).json()["data"] == []
    for method, path, body in (
        ("POST", "rollback", {}),
        ("POST", "canary", {"model": "large", "share": 0.1}),
        ("DELETE", "canary", None),
        ("DELETE", "", None),
    ):
        answer = await theirs.request(method, f"{STEPS}/{path}".rstrip("/"), json=body)
        assert answer.status_code == 404, answer.text
    refused = await theirs.post(
        "/v1/jobs", json={"kind": "generation", "input": {"messages": TALK, "model": "support"}}
    )
    assert refused.json()["code"] == "model_not_found"
    assert (await promote(theirs, "large", None)).status_code == 200
    assert (await ours.get(STEPS)).json()["model"] == "small"


async def test_a_job_keeps_to_what_its_alias_meant_and_says_so(http: httpx.AsyncClient, database: Database) -> None:
    await moved(http, "small", "small:tuned")
    view = await asked(http)
    assert (view["model"], view["alias"]) == ("small", {"name": "support", "model": "small:tuned"})
    assert json.loads((await row(database, view["id"]))["input"])["model"] == "small:tuned"
    assert (await http.get(f"/v1/jobs/{view['id']}")).json()["alias"] == view["alias"]
    assert (await asked(http, "small"))["alias"] is None


async def test_jobs_that_wait_follow_an_alias_that_is_rolled_back_and_begun_ones_do_not(
    http: httpx.AsyncClient, database: Database, jobs: Jobs
) -> None:
    await moved(http, "small", "large")
    waiting, begun, own = await asked(http), await asked(http), await asked(http, "large")
    await jobs.claim(UUID(begun["id"].removeprefix("job_")))
    assert await keeper(database).round() == 0
    assert (await http.post(f"{STEPS}/rollback", json={})).json()["model"] == "small"
    assert await keeper(database).round() == 1
    followed = await row(database, waiting["id"])
    assert (followed["model"], followed["alias_model"], followed["epoch"]) == ("small", "small", 1)
    told = json.loads(followed["input"])
    assert (told["model"], told["messages"][0]["content"]) == ("small", TALK[0]["content"])
    # The message on the topic of `large` is stale, and a worker of `small` is summoned.
    assert json.loads(followed["summoned"]) == ["large 0", "small 1"]
    assert (await jobs.claim(UUID(waiting["id"].removeprefix("job_"))))[0].model == "small"
    for job in (begun, own):
        assert (await row(database, job["id"]))["model"] == "large"
    assert await keeper(database).round() == 0


async def test_an_alias_is_looked_after_until_nobody_can_have_read_what_it_meant_before(
    http: httpx.AsyncClient, database: Database
) -> None:
    async def tended() -> list[str]:
        async with database.connection() as connection:
            return [alias.name for alias, _ in await aliases.tended(connection)]

    await moved(http, "small", "large")
    await keeper(database).round()
    assert await tended() == ["support"]
    async with database.connection() as connection:
        await connection.execute("UPDATE model_alias SET changed_at = now() - interval '1 min'")
    await keeper(database).round()
    assert await tended() == []


async def test_a_canary_gets_a_share_of_the_jobs_until_it_is_promoted_or_ended(
    http: httpx.AsyncClient, database: Database
) -> None:
    await moved(http, "small")
    started = await http.post(f"{STEPS}/canary", json={"model": "large", "share": 0.5})
    assert (started.status_code, started.json()["canary"]["model"]) == (200, "large"), started.text
    views = [await asked(http) for _ in range(60)]
    models = {view["alias"]["model"] for view in views}
    assert models == {"small", "large"}
    assert all(view["alias"]["model"] == view["model"] for view in views)
    ended = (await http.delete(f"{STEPS}/canary")).json()
    assert (ended["canary"], ended["model"], ended["entry"]["canary"]) == (None, "small", "large")
    assert (await http.delete(f"{STEPS}/canary")).json()["code"] == "no_canary"
    assert await keeper(database).round() == sum(view["model"] == "large" for view in views)
    await http.post(f"{STEPS}/canary", json={"model": "large", "share": 0.5})
    assert (await promote(http, "large", "small")).json()["canary"] is None
    await http.post(f"{STEPS}/canary", json={"model": "small:tuned", "share": 0.5})
    back = (await http.post(f"{STEPS}/rollback", json={})).json()
    assert (back["canary"], back["model"], back["entry"]["canary"]) == (None, "large", "small:tuned")


async def served(database: Database, model: str, count: int, *, failed: int = 0, seconds: float = 1.0) -> None:
    """Jobs of the alias that ended on a model."""
    made = [
        new_job(id=uuids.uuid7(), tenant="ours", kind="generation", model=model, alias="support", alias_model=model)
        for _ in range(count)
    ]
    async with database.connection() as connection:
        await submit.submit(connection, made)
        await connection.execute(
            "UPDATE job SET state = CASE WHEN n.n <= $2 THEN 'failed' ELSE 'succeeded' END, started_at = now(),"
            " finished_at = now() + make_interval(secs => $3 + n.n / 1000.0)"
            " FROM unnest($1::uuid[]) WITH ORDINALITY AS n(id, n) WHERE job.id = n.id",
            [one.id for one in made],
            failed,
            seconds,
        )


async def on_trial(http: httpx.AsyncClient) -> None:
    await moved(http, "small")
    await http.post(f"{STEPS}/canary", json={"model": "large", "share": 0.2})


async def test_a_canary_that_fails_is_rolled_back_by_itself_and_receivers_are_told(
    http: httpx.AsyncClient, database: Database
) -> None:
    hook = {"url": "https://example.com/in", "events": ["model.rolled_back"]}
    assert (await http.post("/v1/webhooks", json=hook)).status_code == 201
    await on_trial(http)
    await served(database, "small", 80, failed=1)
    await served(database, "large", FIRST_LOOK - 1, failed=8)
    await keeper(database).round()
    assert (await http.get(STEPS)).json()["canary"] is not None, "too few jobs to tell"
    await served(database, "large", 1)
    await asyncio.gather(*(keeper(database).round() for _ in range(3)))
    found = (await http.get(STEPS)).json()
    assert (found["model"], found["canary"]) == ("small", None)
    step, *before = (await http.get(f"{STEPS}/ledger")).json()["data"]
    assert [one["action"] for one in before] == ["canary_started", "promoted"], "one look, one rollback"
    assert (step["action"], step["by"], step["canary"]) == ("rolled_back", "welip", "large")
    assert step["reason"] == "8 of 20 jobs failed, beside 1 of 80"
    assert step["evidence"]["canary"] | {"jobs": 20, "failed": 8} == step["evidence"]["canary"]
    [told] = (await http.get("/v1/webhooks/deliveries")).json()["data"]
    assert (told["type"], told["data"]["alias"], told["data"]["canary"]) == ("model.rolled_back", "support", "large")


async def test_a_canary_that_is_as_good_stays_and_the_next_look_takes_more_jobs(
    http: httpx.AsyncClient, database: Database
) -> None:
    await on_trial(http)
    await served(database, "small", 80, failed=4)
    await served(database, "large", FIRST_LOOK, failed=1)
    await keeper(database).round()
    await keeper(database).round()
    async with database.connection() as connection:
        [(alias, _)] = await aliases.tended(connection)
    assert (alias.canary_model, alias.canary_looks) == ("large", 1)


async def test_a_slow_canary_is_rolled_back(http: httpx.AsyncClient, database: Database) -> None:
    await on_trial(http)
    await served(database, "small", 80)
    await served(database, "large", FIRST_LOOK, seconds=3)
    await keeper(database).round()
    assert (await http.get(STEPS)).json()["canary"] is None


async def evaluated(http: httpx.AsyncClient, database: Database, *, passed: bool, old: bool = False) -> str:
    """An evaluation of `small` and `large` that ended."""
    variants = [{"name": name, "kind": "generation", "model": name} for name in ("small", "large")]
    gates = [{"metric": "f1", "variant": "large", "not_worse_than": "small", "by": 0.05}]
    items = [{"question": "하나?", "reference": "답"}]
    sent = {"kind": "evaluation", "input": {"items": items, "variants": variants, "gates": gates}}
    job: str = (await http.post("/v1/jobs", json=sent)).json()["id"]
    mean = 0.8 if passed else 0.3
    figures = {"ci95": [0.0, 1.0], "n": 9, "missing": 0}
    gain = {"gain": mean - 0.8, "ci95": [mean - 0.84, mean - 0.76], "p": 0.1, "p_adjusted": 0.1, "n": 9}
    result = {
        "items": {"total": 9, "unanswerable": 0, "answers": 18, "succeeded": 18, "failed": 0},
        "variants": [
            {"name": name, "succeeded": 9, "failed": 0, "metrics": {"f1": {"mean": one, "strict": one, **figures}}}
            for name, one in (("small", 0.8), ("large", mean))
        ],
        "comparisons": [
            {
                "variant": "large",
                "baseline": "small",
                "metrics": {"f1": {**gain, "significant": not passed, "test": "bootstrap", "detectable": 0.1}},
            }
        ],
        "gates": [
            {
                "metric": "f1", "variant": "large", "against": "small", "value": mean - 0.84, "limit": -0.05,
                "passed": passed,
            }
        ],
        "passed": passed, "report": "r", "figures": "f", "items_file": None, "items_parquet": None,
    }  # fmt: skip
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE job SET state = 'succeeded', result = $2::json, finished_at = now() - $3::interval WHERE id = $1",
            UUID(job.removeprefix("job_")),
            json.dumps(result),
            timedelta(days=8 if old else 0),
        )
    return job


async def test_an_evaluation_that_passed_its_gate_promotes_and_stands_on_the_card(
    http: httpx.AsyncClient, database: Database
) -> None:
    await moved(http, "small")
    job = await evaluated(http, database, passed=True)
    done = await promote(http, "large", "small", evaluation=job, reason="좋다 | 정말")
    assert done.status_code == 200, done.text
    entry = done.json()["entry"]
    assert (entry["evaluation"], entry["forced"], entry["evidence"]["metrics"]["f1"]["gain"]) == (job, False, 0.0)
    card = await http.get("/v1/models/support/card")
    assert card.headers["content-type"] == "text/markdown; charset=utf-8"
    for told in ("# support", "| model | large |", "| f1 | 0.8000 | 0.8000 | +0.0000 |", job, "좋다 \\| 정말"):
        assert told in card.text
    found = (await http.get("/v1/models/small/diff", params={"with": "support"})).json()
    assert (found["first"], found["second"], found["evaluation"]) == ("small", "large", job)
    assert (found["metrics"]["f1"]["first"], found["metrics"]["f1"]["second"]) == (0.8, 0.8)


async def test_an_evaluation_that_did_not_show_it_promotes_nothing_but_by_force(
    http: httpx.AsyncClient, database: Database
) -> None:
    await moved(http, "small")
    job = await evaluated(http, database, passed=False)
    refused = await promote(http, "large", "small", evaluation=job)
    assert (refused.status_code, refused.json()["code"]) == (422, "gate_not_passed")
    assert "f1 0.300 beside 0.800, difference -0.500 (-0.540 to -0.460)" in refused.json()["detail"]
    other = await promote(http, "small:tuned", "small", evaluation=job)
    assert "no variant that runs on 'small:tuned'" in other.json()["detail"]
    old = await promote(http, "large", "small", evaluation=await evaluated(http, database, passed=True, old=True))
    assert (old.status_code, old.json()["code"]) == (409, "evaluation_old")
    back = (await http.get("/v1/models/large/diff", params={"with": "small"})).json()
    assert back["metrics"]["f1"]["gain"] == 0.0, "the newest evaluation counts"
    forced = await promote(http, "large", "small", evaluation=job, force=True, reason="급하다")
    assert (forced.status_code, forced.json()["entry"]["forced"]) == (200, True)
    never = await http.get("/v1/models/small/diff", params={"with": "small:tuned"})
    assert (never.status_code, never.json()["code"]) == (404, "never_compared")


async def test_a_promotion_is_checked_when_it_is_submitted(http: httpx.AsyncClient, database: Database) -> None:
    await moved(http, "small")
    asks = {"alias": "support", "items": [{"question": "하나?", "reference": "답"}]}
    for model, code in (("gone", "model_not_found"), ("support", "alias_of_alias"), ("vec", "tasks_differ")):
        refused = await http.post("/v1/jobs", json={"kind": "promotion", "input": {**asks, "model": model}})
        assert (refused.status_code, refused.json()["code"]) == (422, code)
        assert refused.json()["field"] == "input.model"
    sent = await http.post("/v1/jobs", json={"kind": "promotion", "input": {**asks, "model": "large"}})
    assert sent.status_code == 202, sent.text
    assert json.loads((await row(database, sent.json()["id"]))["input"])["model"] == "large"
