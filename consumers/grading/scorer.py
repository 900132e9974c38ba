"""The scorer of a worker: isolated processes compare answers with their references (decision 0034)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Final

import orjson
from pydantic import TypeAdapter, ValidationError

from consumers.scoring.given import applies
from consumers.stages.ports.scorer import Scored, ToScore
from infra.analysis.limits import analysis_limits
from infra.isolation.forks import ForkServer
from infra.isolation.limits import STANDS_BACK
from infra.isolation.pool import Broke, IsolatedPool, IsolationError
from infra.process import cores
from infra.settings import AnalysisSettings
from schemas.kinds.evaluation.graders import Grader
from schemas.morphemes import Morpheme
from schemas.requester import Requester

MODULE: Final = "consumers.grading.service"
_SCORED: Final[TypeAdapter[list[Scored]]] = TypeAdapter(list[Scored])


class IsolatedScorer:
    """Implements `Scorer`. Use and close it in one event loop."""

    def __init__(self, settings: AnalysisSettings) -> None:
        self._server = ForkServer(MODULE)
        limits = replace(analysis_limits(settings), nice=STANDS_BACK)
        self._pool = IsolatedPool(self._server, "score", processes=settings.processes or cores(), limits=limits)

    async def score(
        self,
        answers: Sequence[ToScore],
        graders: Sequence[Grader],
        morphemes: Mapping[str, Sequence[Morpheme]],
        *,
        by: Requester,
    ) -> list[Scored]:
        """The scores of each answer. None for all that cannot be computed within the limits of a process.

        The answers share a process. If it exceeds a limit, each is scored by itself to find the culprit.
        """
        request = {"graders": [grader.model_dump(mode="json") for grader in graders]}
        payload = await asyncio.to_thread(_packed, answers, morphemes)
        try:
            _, made = await self._pool.ask("score", request, payload, owner=by.tenant, rank=by.rank)
            return _read(made, answers)
        except IsolationError:
            if len(answers) == 1:
                return [_unknown(answers[0], graders)]
        return [one for answer in answers for one in await self.score([answer], graders, morphemes, by=by)]

    async def close(self) -> None:
        """Kill the processes."""
        await self._pool.close()
        await self._server.close()


def _packed(answers: Sequence[ToScore], morphemes: Mapping[str, Sequence[Morpheme]]) -> bytes:
    told = [(one.names, one.item.model_dump(mode="json"), asdict(one.given), one.contexts) for one in answers]
    return orjson.dumps({"answers": told, "morphemes": morphemes}, default=list)


def _read(payload: bytes, answers: Sequence[ToScore]) -> list[Scored]:
    try:
        found = _SCORED.validate_json(payload)
    except ValidationError as error:
        raise Broke("its answer makes no sense") from error
    if len(found) != len(answers):
        raise Broke("its answer makes no sense")
    return found


def _unknown(answer: ToScore, graders: Sequence[Grader]) -> Scored:
    wanted = [name for name in answer.names if applies(name, answer.item)]
    return dict.fromkeys([*wanted, *(grader.name for grader in graders)])
