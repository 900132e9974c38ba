"""RAGAS' metrics over our judge: every name can be scored, nothing is asked twice, no error is swallowed."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("ragas", reason="needs the `eval` group: pip install -e '.[eval]'")

from consumers.stages.evaluation.judging import asking
from consumers.stages.evaluation.judging.asking import Asker, Unscored
from consumers.stages.evaluation.judging.ragas_metrics import load, ragas_score
from schemas.errors import DependencyUnavailable, EngineRefused
from schemas.kinds.evaluation.judge import Allowance
from schemas.kinds.evaluation.metrics import NAMED
from schemas.text import Message, TextOptions
from tests.unit.judge_in_memory import JudgeModel, MemoryJudgements, Reply

JUDGED = [name for name, row in NAMED.items() if row.ragas]
GIVEN = {
    "user_input": "한라산의 높이는?",
    "response": "한라산의 높이는 1,947미터이다.",
    "reference": "1,947미터",
    "retrieved_contexts": ["한라산은 높이가 1,947미터이다.", "백두산은 높이가 2,744미터이다."],
}


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    load()


def filled(schema: dict[str, Any], whole: dict[str, Any], number: int) -> Any:
    """A value of the schema: lists of two, `number` wherever a number is asked for."""
    if "$ref" in schema:
        return filled(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole, number)
    if "anyOf" in schema:
        return filled(schema["anyOf"][0], whole, number)
    if "enum" in schema:
        return number if number in schema["enum"] else schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: filled(part, whole, number) for name, part in schema["properties"].items()}
        case "array":
            return [filled(schema["items"], whole, number)] * 2
        case "integer" | "number":
            return number
        case "boolean":
            return bool(number)
        case _:
            return "한라산은 높이가 1,947미터이다."


class Obliging(JudgeModel):
    """Replies with a value of whatever schema it is asked for."""

    def __init__(self, number: int = 1) -> None:
        super().__init__(lambda _: "")
        self.number = number

    async def complete(self, messages: Sequence[Message], options: TextOptions) -> Any:
        schema: Any = options.schema
        self.says = lambda _: json.dumps(filled(schema, schema, self.number), ensure_ascii=False)
        return await super().complete(messages, options)


def asker(model: JudgeModel, kept: MemoryJudgements | None = None, **more: Any) -> Asker:
    return Asker(model, kept or MemoryJudgements(), uuid4(), ("t", "judge@1", ""), TextOptions(), **more)


async def embed(texts: Sequence[str]) -> list[Sequence[float]]:
    return [[1.0, float(len(text) % 2)] for text in texts]


@pytest.mark.parametrize("name", JUDGED)
async def test_every_metric_by_name_is_scored_and_what_was_said_is_not_asked_again(name: str) -> None:
    # This one's ratings are 0, 2 and 4.
    kept, model = MemoryJudgements(), Obliging(4 if name == "answer_accuracy" else 1)
    score = await ragas_score(name, GIVEN, asker(model, kept), embed)
    assert 0 <= score <= 1
    calls = len(model.asked)
    assert 0 < calls == len(kept.replies)
    again = asker(model, kept)
    assert await ragas_score(name, GIVEN, again, embed) == score
    assert (len(model.asked), again.calls, again.cached) == (calls, 0, calls)


@pytest.mark.parametrize("name", JUDGED)
@pytest.mark.parametrize("reply", [DependencyUnavailable("down"), EngineRefused("too long"), "never JSON"])
async def test_no_metric_swallows_an_error_of_the_judge(
    name: str, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAUSES_S", (0.0, 0.0))
    model = JudgeModel(lambda _: reply)
    expected = DependencyUnavailable if isinstance(reply, DependencyUnavailable) else Unscored
    with pytest.raises(expected):
        await ragas_score(name, GIVEN, asker(model), embed)
    assert len(model.asked) <= 2 * asking.READS, "after an error nothing more is asked for this score"


async def test_the_ceiling_ends_a_score_in_its_middle() -> None:
    model = Obliging()
    with pytest.raises(Unscored) as caught:
        await ragas_score("faithfulness", GIVEN, asker(model, allowance=Allowance(tokens=1)), None)
    assert caught.value.code == "ceiling_reached"
    assert len(model.asked) == 1


async def test_verdicts_become_the_score() -> None:
    assert await ragas_score("faithfulness", GIVEN, asker(Obliging(1)), None) == 1
    assert await ragas_score("faithfulness", GIVEN, asker(Obliging(0)), None) == 0
    assert await ragas_score("context_precision", GIVEN, asker(Obliging(1)), None) == pytest.approx(1)


async def test_a_metric_that_compares_texts_needs_an_embedder() -> None:
    with pytest.raises(Unscored) as caught:
        await ragas_score("answer_relevancy", GIVEN, asker(Obliging(0)), None)
    assert caught.value.code == "embedder_missing"
