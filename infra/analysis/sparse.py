"""The sparse encoder of a worker: isolated processes run Kiwi, separate ones for questions (decision 0034)."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from infra.analysis.limits import analysis_limits
from infra.analysis.refusals import document_refused, question_refused
from infra.analysis.sentences import unpacked
from infra.isolation.forks import ForkServer
from infra.isolation.frames import Frame, joined
from infra.isolation.limits import STANDS_BACK
from infra.isolation.pool import Broke, IsolatedPool, IsolationError
from infra.process import cores
from infra.settings import AnalysisSettings
from infra.text.weights import AVERAGE_LENGTH, encoder_name, weigh
from schemas.collections import Chunking, SparseSettings
from schemas.errors import DocumentRefused
from schemas.requester import Requester
from schemas.retrieval import Sentence, SparseVector
from schemas.topics import Lane

SMALL_SETTINGS: Final = 2_000
"""Size limit in bytes: settings up to it travel with every request; larger ones are sent to each process once."""


class IsolatedSparseEncoder:
    """Runs `infra.text.sparse` in processes of `server`. Use and close it in one event loop."""

    def __init__(self, server: ForkServer, settings: AnalysisSettings) -> None:
        self._server = server
        limits = analysis_limits(settings)
        behind = replace(limits, nice=STANDS_BACK)
        # Each lane has its own pool, so that interactive work never waits behind a bulk corpus.
        self._documents = {
            lane: IsolatedPool(server, f"analyse-{lane}", processes=settings.processes or cores(), limits=behind)
            for lane in Lane
        }
        self._questions = IsolatedPool(server, "question", processes=settings.question_processes, limits=limits)

    @property
    def name(self) -> str:
        """The name that collections record for this encoder."""
        return encoder_name(AVERAGE_LENGTH)

    async def analyse(
        self, texts: Sequence[str], settings: SparseSettings, chunking: Chunking | None = None, *, by: Requester
    ) -> list[list[Sentence] | DocumentRefused]:
        """For each text its sentences with their terms, or its refusal (`infra.analysis.refusals`).

        The texts share a process. If it dies or exceeds a limit, each text is analysed again by itself to find the
        culprit. Raises `DependencyUnavailable` after `close`.
        """
        sizes, payload = joined(list(texts))
        request = {"sizes": sizes, "chunking": None if chunking is None else chunking.model_dump()}
        try:
            answer, made = await self._ask(self._documents[by.lane], "analyse", request, payload, settings, by)
            return list(_unpacked(answer, made))
        except IsolationError as error:
            if len(texts) == 1:
                return [document_refused(error)]
        return [one for text in texts for one in await self.analyse([text], settings, chunking, by=by)]

    def weigh(self, pieces: Iterable[Sequence[int]], settings: SparseSettings) -> SparseVector:
        """Saturated term frequencies of all pieces together; empty when no piece has a term."""
        return weigh(pieces, settings, AVERAGE_LENGTH)

    async def encode_query(self, text: str, settings: SparseSettings, *, by: Requester) -> SparseVector:
        """The weight of each distinct term of a question, synonyms included. Raises `InvalidInput`."""
        payload = text.encode("utf-8", "surrogatepass")
        try:
            answer, _ = await self._ask(self._questions, "encode", {}, payload, settings, by)
        except IsolationError as error:
            raise question_refused(error) from error
        return SparseVector(answer["indices"], answer["values"])

    async def warm(self) -> None:
        """Load Kiwi and start a process for the first question."""
        await self._questions.warm()

    async def close(self) -> None:
        """Kill the processes."""
        await asyncio.gather(*(pool.close() for pool in (*self._documents.values(), self._questions)))
        await self._server.close()

    async def _ask(
        self,
        pool: IsolatedPool,
        task: str,
        request: Mapping[str, Any],
        payload: bytes,
        settings: SparseSettings,
        by: Requester,
    ) -> Frame:
        digest, serialised = _serialised(settings)
        whole = {**request, "digest": digest, "settings": serialised}
        slim = whole if len(serialised) <= SMALL_SETTINGS else {**request, "digest": digest}
        answer, made = await pool.ask(task, slim, payload, owner=by.tenant, rank=by.rank)
        if "unknown" in answer:
            answer, made = await pool.ask(task, whole, payload, owner=by.tenant, rank=by.rank)
        return answer, made


@lru_cache(maxsize=64)
def _serialised(settings: SparseSettings) -> tuple[str, str]:
    serialised = settings.model_dump_json()
    return sha256(serialised.encode()).hexdigest(), serialised


def _unpacked(answer: dict[str, Any], made: bytes) -> list[list[Sentence]]:
    try:
        return unpacked(answer["sentences"], made)
    except (KeyError, TypeError, ValueError) as error:
        raise Broke("its analysis makes no sense") from error
