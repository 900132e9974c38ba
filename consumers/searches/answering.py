"""Answers one search: waits for its turn among the tenants', then does what the job's stages do, and nothing else."""

import asyncio
import time
from collections import Counter
from typing import Final

import orjson

from consumers.stages.inference.rerank import reranked
from consumers.stages.inference.search import Search, ToBeEncoded, reranks, search
from consumers.stages.ports import Needs, Ports
from infra.isolation.turns import FairTurns
from infra.metrics import SEARCH_SECONDS
from infra.searches.server import Question
from infra.telemetry import span
from schemas.errors import DependencyUnavailable, JobError, StageTimeout
from schemas.kinds.inference import InferenceInput
from schemas.requester import Requester
from schemas.searches import ANSWER_WITHIN_S, HIT
from schemas.topics import Lane

WAITING_OF_A_TENANT: Final = 1_000
WAITING: Final = 4_000
"""Searches that wait for their turn in one worker; at 400 a second the last one waits ten seconds."""


class TooManySearches(JobError):
    """The tenant has the maximum of searches waiting in this worker."""

    code = "too_many_searches"


class SearchesFull(DependencyUnavailable):
    """This worker has the maximum of searches waiting."""

    code = "searches_full"


class Answering:
    """Searches with a worker's ports, `at_once` of them side by side. `opened`: the ports that this process has."""

    def __init__(self, ports: Ports, opened: Needs, *, at_once: int) -> None:
        self._ports = ports
        self._has_reranker = Ports.reranker in opened
        self._turns = FairTurns(at_once)
        self._most = at_once
        self._asking: Counter[str] = Counter()

    async def answer(self, question: Question) -> bytes | None:
        """The hits as JSON, `{"data": [...]}`; None when a model in another pool is needed.

        Raises what `search` raises, `StageTimeout` after 30 s, `TooManySearches` and `SearchesFull`.
        """
        began, outcome = time.perf_counter(), "failed"
        tenant = question.tenant
        self._admit(tenant)
        self._asking[tenant] += 1
        try:
            with span("search", traceparent=question.traceparent):
                async with asyncio.timeout(ANSWER_WITHIN_S), self._turns.turn(tenant, began):
                    body = await self._found(tenant, question.content)
            outcome = "elsewhere" if body is None else "answered"
            return body
        except TimeoutError as error:
            raise StageTimeout(f"the search took longer than {ANSWER_WITHIN_S} s") from error
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._asking[tenant] -= 1
            if not self._asking[tenant]:
                del self._asking[tenant]
            SEARCH_SECONDS.labels(outcome).observe(time.perf_counter() - began)

    def _admit(self, tenant: str) -> None:
        if self._asking[tenant] >= self._most + WAITING_OF_A_TENANT:
            raise TooManySearches(f"{self._asking[tenant]} of your searches wait: ask for fewer at once")
        if self._asking.total() >= self._most + WAITING:
            raise SearchesFull(f"{self._asking.total()} searches wait here")

    async def _found(self, tenant: str, content: bytes) -> bytes | None:
        request = InferenceInput.model_validate_json(content)
        rerank = reranks(request, self._ports.deployment)
        if rerank and not self._has_reranker:
            return None
        by = Requester(tenant, Lane.INTERACTIVE, time.time())
        found = await search(Search(tenant, request, request.question, by), self._ports)
        if isinstance(found, ToBeEncoded):
            return None
        if rerank and found:
            found = await reranked(self._ports, request.question, found, request.top_k)
        return orjson.dumps({"data": [{name: getattr(one, name) for name in HIT} for one in found]})
