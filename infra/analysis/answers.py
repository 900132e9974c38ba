"""The extractive answerer of a worker: isolated processes with Kiwi read the passages (decision 0034)."""

from collections.abc import Sequence
from typing import Any

from infra.analysis.limits import analysis_limits
from infra.analysis.refusals import question_refused
from infra.isolation.forks import ForkServer
from infra.isolation.pool import Broke, IsolatedPool, IsolationError
from infra.settings import AnalysisSettings
from schemas.requester import Requester
from schemas.retrieval import GeneratedAnswer, Passage

NAME = "extractive"


class IsolatedAnswerer:
    """Runs `infra.engines.extractive` in processes of `server`. Use and close it in one event loop."""

    def __init__(self, server: ForkServer, settings: AnalysisSettings) -> None:
        self._server = server
        limits = analysis_limits(settings)
        self._pool = IsolatedPool(server, "answer", processes=settings.question_processes, limits=limits)

    @property
    def name(self) -> str:
        """The answerer's name: `extractive`."""
        return NAME

    async def answer(
        self,
        question: str,
        passages: Sequence[Passage],
        options: object,
        *,
        by: Requester,
        transcript: object = None,
        wording: object = None,
    ) -> GeneratedAnswer:
        """Up to three sentences, each followed by its source as ` [1]`, or an honest "not found" without citations.

        The whole answer comes at once, so nothing is written to `transcript` before.

        Raises `InvalidInput` (`infra.analysis.refusals`) for input that takes too much time or memory.
        """
        shown = [[one.document_id, one.title, one.heading, one.text, one.start, one.end] for one in passages]
        request = {"question": question, "passages": shown}
        try:
            answer, _ = await self._pool.ask("answer", request, owner=by.tenant, rank=by.rank)
            return self._answer(answer, passages)
        except IsolationError as error:
            raise question_refused(error) from error

    async def condense(self, question: str, history: object, options: object) -> None:
        """None: without a model, the question is searched for as it was asked."""

    async def warm(self) -> None:
        """Load Kiwi and start a process for the first answer."""
        await self._pool.warm()

    async def close(self) -> None:
        """Kill the processes."""
        await self._pool.close()
        await self._server.close()

    def _answer(self, answer: dict[str, Any], passages: Sequence[Passage]) -> GeneratedAnswer:
        try:
            cited = [passages[at] for at in answer["cited"]]
            return GeneratedAnswer(answer["text"], cited, self.name, found=answer["found"])
        except (IndexError, KeyError, TypeError) as error:
            raise Broke("its answer makes no sense") from error
