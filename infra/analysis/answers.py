"""The extractive answerer of a worker: passages are read where Kiwi is, in isolated processes (decision 0034)."""

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
    """`infra.engines.extractive` behind processes of `server`. Of one event loop; `close` it there."""

    def __init__(self, server: ForkServer, settings: AnalysisSettings) -> None:
        self._server = server
        limits = analysis_limits(settings)
        self._pool = IsolatedPool(server, "answer", processes=settings.question_processes, limits=limits)

    @property
    def name(self) -> str:
        """`extractive`."""
        return NAME

    async def answer(
        self,
        question: str,
        passages: Sequence[Passage],
        options: object,
        *,
        by: Requester,
        transcript: object = None,
    ) -> GeneratedAnswer:
        """Up to three sentences, each followed by its source as ` [1]`; or an honest "not found" without citations.

        They come at once, so nothing is written to `transcript` before.

        Raises `InvalidInput` (`infra.analysis.refusals`) for what takes too long or too much.
        """
        shown = [[one.document_id, one.title, one.heading, one.text, one.start, one.end] for one in passages]
        request = {"question": question, "passages": shown}
        try:
            answer, _ = await self._pool.ask("answer", request, owner=by.tenant, rank=by.rank)
            return self._answer(answer, passages)
        except IsolationError as error:
            raise question_refused(error) from error

    async def warm(self) -> None:
        """Load Kiwi and have a process ready for the first answer."""
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
