"""The morphemes of texts, for comparing answers: isolated processes run Kiwi (decision 0034)."""

import json
from collections.abc import Sequence
from dataclasses import replace

from infra.analysis.limits import analysis_limits
from infra.analysis.refusals import document_refused
from infra.isolation.forks import ForkServer
from infra.isolation.frames import joined
from infra.isolation.limits import STANDS_BACK
from infra.isolation.pool import Broke, IsolatedPool, IsolationError
from infra.process import cores
from infra.settings import AnalysisSettings
from schemas.errors import DocumentRefused
from schemas.morphemes import Morpheme
from schemas.requester import Requester


class IsolatedMorphemes:
    """Cuts texts into morphemes in processes of `server`. Use and close it in one event loop."""

    def __init__(self, server: ForkServer, settings: AnalysisSettings) -> None:
        self._server = server
        limits = replace(analysis_limits(settings), nice=STANDS_BACK)
        self._pool = IsolatedPool(server, "morphemes", processes=settings.processes or cores(), limits=limits)

    async def morphemes(self, texts: Sequence[str], *, by: Requester) -> list[list[Morpheme] | DocumentRefused]:
        """The morphemes of each text in their order, or its refusal (`infra.analysis.refusals`).

        The texts share a process. If it exceeds a limit, each text is analysed again by itself to find the culprit.
        """
        sizes, payload = joined(list(texts))
        try:
            _, made = await self._pool.ask("morphemes", {"sizes": sizes}, payload, owner=by.tenant, rank=by.rank)
            return list(_read(made, len(texts)))
        except IsolationError as error:
            if len(texts) == 1:
                return [document_refused(error)]
        return [one for text in texts for one in await self.morphemes([text], by=by)]

    async def close(self) -> None:
        """Kill the processes."""
        await self._pool.close()
        await self._server.close()


def _read(payload: bytes, count: int) -> list[list[Morpheme]]:
    try:
        found = [[Morpheme(str(form), str(tag)) for form, tag in text] for text in json.loads(payload)]
    except (ValueError, TypeError) as error:
        raise Broke("its answer makes no sense") from error
    if len(found) != count:
        raise Broke("its answer makes no sense")
    return found
