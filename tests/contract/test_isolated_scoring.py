"""Answers are scored in processes of their own: a grader that asks for too much costs its own answer its scores."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import TypeAdapter

from consumers.grading.scorer import MODULE, IsolatedScorer
from consumers.scoring.given import Given
from consumers.scoring.graders import grades
from consumers.scoring.items import scores
from consumers.stages.ports.scorer import ToScore
from infra.settings import AnalysisSettings
from schemas.kinds.evaluation.graders import Grader
from schemas.kinds.evaluation.items import Item
from schemas.morphemes import Morpheme
from schemas.requester import Requester
from schemas.topics import Lane
from tests.contract.isolated import forked, servers, until

BY = Requester("t", Lane.BULK)
NAMES = ["exact_match", "f1_char", "f1", "chrf", "rouge_l", "answered"]
SMALL = 64 * 1024**2


def graders(*given: dict[str, str]) -> list[Grader]:
    return TypeAdapter(list[Grader]).validate_python(list(given))


CLOSE = {"type": "text_similarity", "name": "close", "evaluation_metric": "rouge_l"}
LONG = CLOSE | {"name": "long", "input": "{{item.reference}} " * 100, "reference": "{{item.reference}} " * 100}


def answer(text: str, reference: str) -> ToScore:
    item = Item(id="1", row=1, question="높이는?", references=[reference])
    return ToScore(NAMES, item, Given(succeeded=True, text=text, documents=("d",)), ["본문"])


@pytest.fixture
async def scorer() -> AsyncIterator[IsolatedScorer]:
    made = IsolatedScorer(AnalysisSettings(processes=1, memory_bytes=SMALL))
    yield made
    await made.close()
    assert servers(MODULE) == []


async def test_scores_are_those_of_this_process(scorer: IsolatedScorer) -> None:
    given = graders(CLOSE, {"type": "expression", "name": "short", "expression": "len(answer) < 5 and found"})
    morphemes = {
        "1,947미터다": [Morpheme("1,947", "SN"), Morpheme("미터", "NNB")],
        "1947미터": [Morpheme("1947", "SN")],
    }
    asked = [answer("1,947미터다", "1947미터"), answer("모른다", "1947미터")]
    found = await scorer.score(asked, given, morphemes, by=BY)
    assert found == [
        scores(one.names, one.item, one.given, morphemes.get) | grades(given, one.item, one.given, one.contexts)
        for one in asked
    ]
    assert found[0]["f1"] is not None
    assert found[1]["f1"] is None  # its answer was not analysed


async def test_an_answer_that_needs_too_much_has_no_scores_and_its_neighbours_have(scorer: IsolatedScorer) -> None:
    words = " ".join(chr(0xAC00 + n) for n in range(9_000))
    found = await scorer.score([answer("가", "가"), answer("가", words)], graders(LONG), {}, by=BY)
    assert found[0]["long"] == 1
    assert found[0]["exact_match"] == 1
    assert found[1] == dict.fromkeys([*NAMES, "long"])


async def test_a_cancelled_evaluation_leaves_no_process(scorer: IsolatedScorer) -> None:
    words = " ".join(chr(0xAC00 + n % 500) for n in range(9_000))
    scoring = asyncio.create_task(scorer.score([answer("가", words)] * 200, graders(LONG), {}, by=BY))
    await until(lambda: forked(MODULE))
    scoring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scoring
    assert forked(MODULE) == []
