"""The rounds of an evaluation's questions: which are asked once more, and which answer counts in the end."""

from collections.abc import AsyncIterator, Callable, Sequence

from consumers.stages.context import StageJob
from consumers.stages.evaluation.questions import may_ask, unasked
from consumers.stages.evaluation.reuse import reused
from consumers.stages.ports import ChildSummary, Ports
from schemas.kinds.evaluation import EvaluationInput
from schemas.kinds.evaluation.carries import Planned
from schemas.outcomes import FanOut
from schemas.topics import Lane

Place = tuple[int, int]
"""Row of an item and number of a variant, in whose order children are made."""


async def once_more(job: StageJob[EvaluationInput, Planned], planned: Planned, ports: Ports) -> FanOut | None:
    """Ask what failed although trying again can help; None when nothing did, it was asked often enough, or the ceiling
    is reached. All that was asked for the first time is looked at together, however many fan-outs that took.
    """
    first_rounds = 1 if planned.waves is None else planned.waves.number
    if planned.rounds - first_rounds >= job.input.again or not may_ask(job.input, planned):
        return None
    begin = 1 if planned.rounds == first_rounds else planned.rounds
    rounds = range(begin, planned.rounds + 1)
    children = [child for number in rounds async for child in ports.children.failed(job.id, number)]
    if not children:
        return None
    changes = {"rounds": planned.rounds + 1, "asked_again": planned.asked_again + len(children)}
    return FanOut(children, then="score", carry=planned.model_copy(update=changes), lane=Lane.BULK)


async def answered(
    job: StageJob[EvaluationInput, Planned], ports: Ports
) -> AsyncIterator[tuple[int, str, ChildSummary]]:
    """The last answer to every question, with the item's row and the variant's name, in the order of both."""
    planned = job.carry
    variants = {name: number for number, name in enumerate(planned.metrics)}

    def place(child: ChildSummary) -> Place:
        row, _, variant = child.key.partition("/")
        return int(row), variants[variant]

    rounds = [ports.children.results(job.id, number) for number in range(1, planned.rounds + 1)]
    async for child in _last([unasked(job.input, planned, ports), reused(ports, planned), *rounds], place):
        row, _, variant = child.key.partition("/")
        yield int(row), variant, child


async def _last(
    sources: Sequence[AsyncIterator[ChildSummary]], place: Callable[[ChildSummary], Place]
) -> AsyncIterator[ChildSummary]:
    """Merge sources that are in order; of several children at one place, the last source's."""
    heads = [await anext(source, None) for source in sources]
    while waiting := [place(head) for head in heads if head is not None]:
        first = min(waiting)
        found: ChildSummary | None = None
        for number, head in enumerate(heads):
            if head is not None and place(head) == first:
                found = head
                heads[number] = await anext(sources[number], None)
        assert found is not None  # one of them was the first
        yield found
