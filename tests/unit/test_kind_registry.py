"""A registry that contradicts itself is refused by name; former names still lead to their stages and topics."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from consumers.subscriptions import rooms_of, subscriptions
from schemas.kinds.consistency import RegistryError, check
from schemas.kinds.kind import Backoff, Kind, Stage
from schemas.kinds.noop import NoopInput
from schemas.kinds.registry import KINDS, Route, routes, served, steps, topic_of
from schemas.models import WITHOUT_MODELS, Models, OpenAIModel
from schemas.topics import Lane, Pool

PLAIN = Kind("plain", NoopInput, None, {"run": Stage(Pool.CPU)})


def openai(name: str) -> OpenAIModel:
    return OpenAIModel(name=name, engine="openai", url="http://localhost/v1")


class Other(BaseModel):
    n: int


def kinds(*rows: Kind) -> dict[str, Kind]:
    return {row.name: row for row in rows}


def test_the_registry_of_this_version_is_consistent() -> None:
    check(KINDS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": {}}, "it has no stage"),
        ({"stages": {"Run": Stage(Pool.CPU)}}, "'Run' is not a name"),
        ({"stages": {"run": Stage(Pool.WEBHOOK)}}, "stage 'run' is in the pool `webhook`"),
        ({"noun": "b'"}, "is not a name"),
        ({"max_attempts": 26}, "max_attempts of 26"),
        ({"timeout_s": 0.0}, "timeout_s of 0"),
        ({"backoff": Backoff(timedelta(minutes=9))}, "its backoff must begin"),
        ({"children": frozenset({"nobody"})}, "children of 'nobody', which is not a kind"),
        ({"submittable": False}, "not submittable, and no kind makes children of it"),
        ({"aliases": frozenset({"noop"})}, "its alias 'noop' is taken"),
        ({"asks": ("model",)}, "where a stage runs a model, and only there"),
        ({"stages": {"a": Stage(Pool.GPU, task="chat")}}, "where a stage runs a model, and only there"),
        (
            {"stages": {"a": Stage(Pool.GPU, task="chat"), "b": Stage(Pool.GPU, task="embeddings")}},
            "its stages have a model do different things",
        ),
        ({"aliases": frozenset({"plain"})}, "its alias is its own name"),
        ({"stages": {n: Stage(Pool.CPU, aliases=frozenset({"old"})) for n in "ab"}}, "two stages have the alias 'old'"),
        (
            {"stages": {"a": Stage(Pool.CPU), "b": Stage(Pool.CPU, aliases=frozenset({"a"}))}},
            "stage 'b' has the alias 'a', the name of a stage of the same input",
        ),
        (
            {"stages": {"a": Stage(Pool.CPU), "b": Stage(Pool.GPU, Other, aliases=frozenset({"a"}))}},
            "or another pool",
        ),
    ],
)
def test_a_contradiction_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RegistryError, match=f"kind 'plain': .*{said}"):
        check(kinds(replace(PLAIN, **changes), KINDS["noop"]))


def test_a_row_under_another_name_is_named() -> None:
    with pytest.raises(RegistryError, match="kind 'x': it calls itself 'plain'"):
        check({"x": PLAIN})


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> Kind:
    """A kind with a former name; its stage `run` was split from `old` and had another name before."""
    stages = {
        "old": Stage(Pool.CPU, Other),
        "run": Stage(Pool.CPU, aliases=frozenset({"old", "go"}), begins=True),
    }
    kind = replace(PLAIN, stages=stages, aliases=frozenset({"was"}))
    check(kinds(kind, KINDS["noop"]))
    monkeypatch.setitem(KINDS, "plain", kind)  # type: ignore[arg-type]
    return kind


@pytest.mark.parametrize(
    ("kind", "stage", "found"),
    [
        ("plain", "run", ["run"]),
        ("was", "run", ["run"]),
        ("was", "go", ["run"]),
        ("plain", "old", ["old", "run"]),
        ("plain", "away", []),
        ("away", "run", []),
    ],
)
def test_names_lead_to_stages(renamed: Kind, kind: str, stage: str, found: list[str]) -> None:
    assert [(step.kind, step.name) for step in steps(kind, stage)] == [(renamed, name) for name in found]


def test_old_topics_are_read_and_nothing_new_goes_there(renamed: Kind) -> None:
    mine = [route for route in routes() if route.kind in ("plain", "was") and route.lane is Lane.BULK]
    assert [route.topic for route in mine] == [
        f"welip.{kind}.{stage}.bulk" for kind in ("plain", "was") for stage in ("old", "run", "go")
    ]
    assert [route.begins for route in mine] == [True] * 6
    assert len({route.topic for route in routes()}) == len(list(routes()))
    assert topic_of("was", "go", "bulk") == topic_of("plain", "run", "bulk") == "welip.plain.run.bulk"
    assert topic_of("was", "old", "bulk") == "welip.plain.old.bulk"
    assert topic_of("nobody", "x", "bulk") == "welip.nobody.x.bulk"


def test_a_stage_that_runs_a_model_has_a_topic_for_each_model_and_one_without() -> None:
    models = Models(
        (
            OpenAIModel(name="a.1", engine="openai", url="http://h"),
            OpenAIModel(name="v", engine="openai", url="http://h", tasks=("embeddings",)),
            OpenAIModel(name="b", engine="openai", url="http://h"),
        )
    )
    mine = {
        route.topic: route.served_by
        for route in routes(models)
        if route.lane is Lane.BULK and route.stage in ("run", "generate") and route.kind != "noop"
    }
    assert mine == {
        "welip.inference.generate.bulk": "a.1",
        "welip.inference.generate.a.1.bulk": "a.1",
        "welip.inference.generate.b.bulk": "b",
        "welip.generation.run.bulk": "a.1",
        "welip.generation.run.a.1.bulk": "a.1",
        "welip.generation.run.b.bulk": "b",
        "welip.benchmark.run.bulk": "a.1",
        "welip.benchmark.run.a.1.bulk": "a.1",
        "welip.benchmark.run.b.bulk": "b",
        "welip.embedding.run.bulk": "v",
        "welip.embedding.run.v.bulk": "v",
    }
    assert topic_of("generation", "run", "bulk", "b") == "welip.generation.run.b.bulk"
    assert topic_of("generation", "run", "bulk") == "welip.generation.run.bulk"
    assert topic_of("inference", "retrieve", "bulk", "b") == "welip.inference.retrieve.bulk", "it runs no model"
    only = [route for route in served(models, [], ["b"]) if route.lane is Lane.BULK]
    assert {route.topic for route in only} >= {"welip.inference.generate.b.bulk", "welip.generation.run.b.bulk"}
    assert {route.served_by for route in only} == {"b"}
    gpu = {route.topic for route in served(models, [Pool.GPU])}
    assert gpu >= {f"{topic.removesuffix('bulk')}interactive" for topic in mine}
    with_b = served(models, [Pool.GPU], ["b"])
    assert {route.served_by for route in with_b} == {"b", None}
    assert "welip.inference.encode.bulk" in {route.topic for route in with_b}


def test_a_child_may_begin_where_its_kind_says() -> None:
    begins = {stage for stage in KINDS["indexing"].stages if KINDS["indexing"].begins(stage)}
    assert begins == {"plan", "prepare", "rebuild_prepare"}
    assert Route("indexing", "prepare", Lane.BULK, Pool.CPU, begins=True) in set(routes())


def test_a_topic_is_read_by_the_group_of_its_pool_and_lane_or_of_the_model_that_serves_it() -> None:
    models = Models(tuple(openai(name) for name in ("one", "two")))
    groups = {route.topic: route.group for route in routes(models)}
    assert groups["welip.indexing.plan.bulk"] == groups["welip.inference.retrieve.bulk"] == "welip.cpu.bulk"
    assert groups["welip.inference.rerank.interactive"] == "welip.gpu.interactive"
    assert (
        groups["welip.generation.run.two.bulk"] == groups["welip.inference.generate.two.bulk"] == "welip.gpu.two.bulk"
    )
    assert groups["welip.generation.run.bulk"] == "welip.gpu.one.bulk"


@pytest.mark.parametrize("names", [None, ["one"], ["two"]])
def test_workers_with_other_models_read_a_topic_in_the_same_group(names: list[str] | None) -> None:
    models = Models(tuple(openai(name) for name in ("one", "two")))
    mine = served(models, [Pool.GPU], names)
    wanted = subscriptions(mine, embedded=False, rooms=rooms_of(mine, models, 16, {}))
    assert {topic: one.group for one in wanted for topic in one.topics} == {route.topic: route.group for route in mine}


def test_a_worker_of_a_pool_joins_few_groups() -> None:
    for pool, groups in ((Pool.CPU, 2), (Pool.GPU, 4)):
        models = Models((openai("one"),))
        assert len(subscriptions(served(models, [pool]), embedded=False, rooms={})) == groups


@pytest.mark.parametrize("embedded", [False, True])
def test_what_trains_has_one_slot_for_both_lanes(embedded: bool) -> None:
    wanted = subscriptions(routes(), embedded=embedded, rooms={})
    alone = [one for one in wanted if one.alone]
    assert {one.group for one in alone} == {"welip.train.interactive", "welip.train.bulk"}
    assert {topic for one in alone for topic in one.topics} == {
        "welip.training.train.interactive",
        "welip.training.train.bulk",
    }
    assert not any("training.train" in topic for one in wanted if not one.alone for topic in one.topics)


def test_a_worker_of_some_kinds_reads_their_topics_and_no_others(renamed: Kind) -> None:
    every = served(WITHOUT_MODELS, {Pool.CPU})
    apart = [served(WITHOUT_MODELS, {Pool.CPU}, kinds=[kind]) for kind in KINDS]
    assert sorted(route.topic for routes in apart for route in routes) == sorted(route.topic for route in every)
    of_one = served(WITHOUT_MODELS, {Pool.CPU}, kinds=[renamed.name])
    assert {route.kind for route in of_one} == {renamed.name, *renamed.aliases}
    assert {(route.kind, route.stage) for route in served(WITHOUT_MODELS, {Pool.CPU}, kinds=["inference"])} == {
        ("inference", "retrieve")
    }
