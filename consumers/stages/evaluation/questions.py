"""The questions of an evaluation as children: all at once, or in waves where a ceiling may end the run.

What an answer costs is known when it is there. So a run with a ceiling asks a few questions first, and then as many as
the rest of the ceiling is likely to pay for.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Final

import orjson

from consumers.stages.answers import answer_of
from consumers.stages.context import StageJob
from consumers.stages.evaluation.affording import left_of, paid_for
from consumers.stages.evaluation.reuse import NOBODY
from consumers.stages.lines import read_lines
from consumers.stages.ports import ChildSummary, Ports
from schemas.kinds.evaluation import PLACE, EvaluationInput, ModelVariant, RetrievalVariant
from schemas.kinds.evaluation.carries import Planned, Waves
from schemas.kinds.evaluation.items import Item
from schemas.kinds.evaluation.judge import CEILING, Allowance
from schemas.kinds.generation import ChatMessage, GenerationInput
from schemas.kinds.inference import InferenceInput
from schemas.lifecycle import JobState
from schemas.outcomes import Child, FanOut
from schemas.topics import Lane

FEW: Final = 16
"""Questions of the smallest wave: about as many as are under way at any moment. So many may pass the ceiling."""

GROWTH: Final = 8
"""A wave has at most so many times the questions before it: the first answers may be cheaper than most."""

Way = RetrievalVariant | ModelVariant


def questions(request: EvaluationInput, items: Iterable[Item], known: Collection[str]) -> list[Child]:
    """A child for each item and variant, in this order, but for the `known` keys."""
    return [
        Child(way.kind, asked(request, way, item.question), key=key)
        for item in items
        for way in request.ways
        if (key := f"{item.row}/{way.name}") not in known
    ]


def asked(request: EvaluationInput, way: Way, question: str) -> InferenceInput | GenerationInput:
    """The input of the child that answers a question in this way."""
    if isinstance(way, RetrievalVariant):
        return request.question(way, question)
    messages = [ChatMessage(role="system", content=way.system)] if way.system else []
    messages.append(ChatMessage(role="user", content=way.prompt.replace(PLACE, question)))
    return GenerationInput(
        messages=messages, model=way.model, max_tokens=way.max_tokens, temperature=way.temperature, seed=way.seed
    )


def first_questions(
    request: EvaluationInput, items: Sequence[Item], known: Collection[str]
) -> tuple[list[Child], Waves | None]:
    """The questions to begin with, and how far they go; all of them, and None, without a ceiling."""
    if request.ceiling is None:
        return questions(request, items, known), None
    return _wave(request, items, known, Waves(number=0, row=0, rest=True, asked=0), FEW)


async def counted(job: StageJob[EvaluationInput, Planned], ports: Ports) -> Planned:
    """The plan with what the answers of the last fan-out cost, if the run has a ceiling."""
    planned = job.carry
    if planned.waves is None:
        return planned
    tokens, cost = planned.waves.tokens, planned.waves.cost
    async for child in ports.children.results(job.id, planned.rounds):
        more, paid = paid_for(await answer_of(ports, child), ports.deployment.models)
        tokens, cost = tokens + more, cost + paid
    return planned.model_copy(update={"waves": planned.waves.model_copy(update={"tokens": tokens, "cost": cost})})


def may_ask(request: EvaluationInput, planned: Planned) -> bool:
    """Whether the ceiling allows another question."""
    waves, ceiling = planned.waves, request.ceiling
    if waves is None or ceiling is None:
        return True
    return not Allowance(tokens=ceiling.tokens, cost=ceiling.cost).is_spent(waves.tokens, waves.cost)


async def more_questions(request: EvaluationInput, planned: Planned, ports: Ports) -> FanOut | None:
    """The next wave of a run with a ceiling; None when all was asked, or the ceiling is reached."""
    if planned.waves is None or not planned.waves.rest or not may_ask(request, planned):
        return None
    known: set[str] = set()
    if planned.reused is not None:
        known = {orjson.loads(line)["key"] async for line in read_lines(ports.blobs, planned.reused)}
    items = [item async for item in _unasked_items(planned, ports)]
    children, waves = _wave(request, items, known, planned.waves, _affordable(request, planned.waves))
    onward = planned.model_copy(update={"rounds": planned.rounds + 1, "waves": waves})
    return FanOut(children, then="score", carry=onward, lane=Lane.BULK)


async def unasked(request: EvaluationInput, planned: Planned, ports: Ports) -> AsyncIterator[ChildSummary]:
    """In place of the answers that the ceiling left no room for, in the order of items and variants."""
    if planned.waves is None or not planned.waves.rest:
        return
    error = {"code": CEILING, "message": "the run's ceiling was reached before this question was asked"}
    async for item in _unasked_items(planned, ports):
        for way in request.ways:
            yield ChildSummary(f"{item.row}/{way.name}", way.kind, 0, JobState.FAILED, {}, None, error, NOBODY)


async def _unasked_items(planned: Planned, ports: Ports) -> AsyncIterator[Item]:
    assert planned.waves is not None
    async for line in read_lines(ports.blobs, planned.items):
        item = Item.model_validate_json(line)
        if item.row > planned.waves.row:
            yield item


def _wave(
    request: EvaluationInput, items: Iterable[Item], known: Collection[str], before: Waves, most: int
) -> tuple[list[Child], Waves]:
    """About `most` questions, all variants of an item together: what is compared is cut off at the same item."""
    children: list[Child] = []
    row, rest = before.row, False
    for item in items:
        if rest := len(children) >= most:
            break
        children += questions(request, [item], known)
        row = item.row
    after = {"number": before.number + 1, "row": row, "rest": rest, "asked": before.asked + len(children)}
    return children, before.model_copy(update=after)


def _affordable(request: EvaluationInput, waves: Waves) -> int:
    """How many questions what is left will pay for, by the answers up to now."""
    left = left_of(request, waves.tokens, waves.cost)
    pairs = ((left.tokens, waves.tokens), (left.cost, waves.cost))
    paid = [rest * waves.asked / spent for rest, spent in pairs if rest is not None and spent]
    return max(FEW, int(min([*paid, GROWTH * waves.asked])))
