"""Asking a judge: nothing twice, only usable replies are kept, and nothing beyond the allowance."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from consumers.stages.evaluation.judging import asking
from consumers.stages.evaluation.judging.asking import READS, Asker, Unscored
from schemas.errors import (
    DependencyUnavailable,
    EngineClosed,
    EngineFailed,
    EngineOverloaded,
    EngineRefused,
    EngineReplyBroken,
    JobError,
)
from schemas.kinds.evaluation.judge import Allowance
from schemas.models import Price
from schemas.retrieval import Usage
from schemas.text import Completion, Message, TextOptions
from tests.unit.judge_in_memory import JudgeModel, MemoryJudgements, Reply

RUN = uuid4()
QUESTION = [Message("user", "좋은가?")]


class Verdict(BaseModel):
    verdict: int


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES_S", (0.0, 0.0))


def asker(*replies: Reply, kept: MemoryJudgements | None = None, **more: Any) -> tuple[Asker, JudgeModel]:
    """An asker whose judge gives these replies, the last one again and again."""
    left = list(replies)
    model = JudgeModel(lambda _: left.pop(0) if len(left) > 1 else left[0])
    identity = more.pop("identity", ("t", "judge@1", ""))
    return Asker(model, kept or MemoryJudgements(), RUN, identity, TextOptions(), **more), model


async def test_what_was_said_is_not_asked_again_by_any_run() -> None:
    kept = MemoryJudgements()
    first, _ = asker('{"verdict": 1}', kept=kept)
    assert (await first.ask(QUESTION, Verdict)).verdict == 1
    again, model = asker('{"verdict": 0}', kept=kept)
    assert (await again.ask(QUESTION, Verdict)).verdict == 1
    assert (model.asked, again.calls, again.cached) == ([], 0, 1)
    assert kept.costs[RUN][0] == 15, "it is paid for once"


async def test_the_same_question_at_the_same_moment_is_asked_once() -> None:
    one, model = asker('{"verdict": 1}')
    found = await asyncio.gather(*(one.ask(QUESTION, Verdict) for _ in range(5)))
    assert [verdict.verdict for verdict in found] == [1] * 5
    assert (len(model.asked), one.calls, one.cached) == (1, 1, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"identity": ("u", "judge@1", "")},
        {"identity": ("t", "judge@2", "")},
        {"identity": ("t", "judge@1", "judge:legal@2")},
        {"nth": 1},
        {"options": TextOptions(temperature=1.0)},
        {"messages": [Message("system", "좋은가?")]},
    ],
)
async def test_another_tenant_judge_question_or_turn_is_asked_anew(change: dict[str, Any]) -> None:
    kept = MemoryJudgements()
    await asker('{"verdict": 1}', kept=kept)[0].ask(QUESTION, Verdict)
    more = {"identity": change.pop("identity")} if "identity" in change else {}
    other, model = asker('{"verdict": 0}', kept=kept, **more)
    assert (await other.ask(change.pop("messages", QUESTION), Verdict, **change)).verdict == 0
    assert len(model.asked) == 1


async def test_a_reply_that_cannot_be_read_is_asked_for_again_with_what_is_wrong() -> None:
    kept = MemoryJudgements()
    one, model = asker("yes", '{"verdict": "?"}', '{"verdict": 1}', kept=kept)
    assert (await one.ask(QUESTION, Verdict)).verdict == 1
    assert [turns[-1].role for turns in model.asked] == ["user"] * 3
    assert "no JSON object" in model.asked[1][-1].content
    assert "verdict" in model.asked[2][-1].content
    assert list(kept.replies.values()) == ['{"verdict": 1}']
    assert kept.costs[RUN][0] == 3 * 15, "unusable replies cost as much"


async def test_a_judge_that_never_replies_in_the_form_gives_no_score_and_nothing_is_kept() -> None:
    kept = MemoryJudgements()
    one, model = asker("no", kept=kept)
    with pytest.raises(Unscored) as caught:
        await one.ask(QUESTION, Verdict)
    assert (caught.value.code, len(model.asked), kept.replies) == ("judge_unreadable", READS, {})


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Completion("", "stop", "j", refusal="I cannot"), "judge_refused"),
        (Completion("", "content_filter", "j"), "judge_refused"),
        (Completion('{"verdict', "length", "j"), "judge_reply_cut"),
    ],
)
async def test_a_refusal_is_asked_once_and_not_kept(reply: Completion, code: str) -> None:
    kept = MemoryJudgements()
    one, model = asker(reply, kept=kept)
    with pytest.raises(Unscored) as caught:
        await one.ask(QUESTION, Verdict)
    assert (caught.value.code, len(model.asked), kept.replies) == (code, 1, {})


@pytest.mark.parametrize("error", [EngineReplyBroken("html"), EngineFailed("500")])
async def test_an_engine_that_fails_now_and_then_is_asked_again(error: JobError) -> None:
    one, model = asker(error, error, '{"verdict": 1}')
    assert (await one.ask(QUESTION, Verdict)).verdict == 1
    assert len(model.asked) == 3


async def test_what_fails_alone_is_a_missing_score_and_what_fails_with_all_is_an_outage() -> None:
    one, _ = asker('{"verdict": 1}', EngineFailed("500"))
    await one.ask(QUESTION, Verdict)
    with pytest.raises(Unscored) as caught:
        await one.ask([Message("user", "other")], Verdict)
    assert caught.value.code == "dependency_unavailable"
    alone, _ = asker(EngineFailed("500"))
    with pytest.raises(EngineFailed):
        await alone.ask(QUESTION, Verdict)


@pytest.mark.parametrize("error", [DependencyUnavailable("down"), EngineOverloaded("full"), EngineClosed("wrong key")])
async def test_an_engine_that_is_away_full_or_closed_concerns_the_whole_slice(error: JobError) -> None:
    one, model = asker(error)
    with pytest.raises(type(error)):
        await one.ask(QUESTION, Verdict)
    assert len(model.asked) == 1, "gate and job wait, not this"


async def test_an_engine_without_schemas_is_asked_without_one_from_then_on() -> None:
    one, model = asker(EngineRefused("unknown field response_format"), '{"verdict": 1}', '{"verdict": 0}')
    await one.ask(QUESTION, Verdict)
    await one.ask(QUESTION, Verdict, nth=1)
    assert [options.schema is not None for options in model.options] == [True, False, False]


async def test_a_request_that_the_engine_refuses_is_a_missing_score() -> None:
    one, _ = asker(EngineRefused("maximum context length exceeded"))
    with pytest.raises(Unscored) as caught:
        await one.ask(QUESTION, Verdict)
    assert caught.value.code == "engine_refused"


@pytest.mark.parametrize("allowance", [Allowance(tokens=30), Allowance(cost=30e-6)])
async def test_at_the_ceiling_nothing_more_is_asked_but_what_was_said_counts(allowance: Allowance) -> None:
    kept = MemoryJudgements()
    price = Price(input=1, output=1)
    one, model = asker('{"verdict": 1}', kept=kept, allowance=allowance, price=price)
    for nth in range(2):
        await one.ask(QUESTION, Verdict, nth=nth)
    with pytest.raises(Unscored) as caught:
        await one.ask(QUESTION, Verdict, nth=2)
    assert caught.value.code == "ceiling_reached"
    assert len(model.asked) == 2
    assert kept.costs[RUN][1] == pytest.approx(30e-6)
    other, others_model = asker('{"verdict": 1}', kept=kept, allowance=allowance, price=price)
    await other.begin()
    assert (await other.ask(QUESTION, Verdict, nth=1)).verdict == 1
    with pytest.raises(Unscored):
        await other.ask(QUESTION, Verdict, nth=2)
    assert others_model.asked == [], "another slice knows what was spent"


async def test_a_reply_that_postgres_could_not_hold_is_kept_without_what_it_cannot_hold() -> None:
    kept = MemoryJudgements()
    one, _ = asker(Completion('{"verdict": 1, "why": "\ud800"}', "stop", "j", Usage(1, 1)), kept=kept)
    assert (await one.ask(QUESTION, Verdict)).verdict == 1
    [reply] = kept.replies.values()
    reply.encode()
