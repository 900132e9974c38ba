"""What a search may show: hits of documents as Postgres has them now, whatever else is still in the index."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from consumers.stages.ports import Ports
from schemas.collections import FusionSettings
from schemas.filters import Condition
from schemas.retrieval import IndexName, Passage, Query

SPARE: Final = 3
"""Extra hits requested, so that a few stale ones cost no second search."""
MOST: Final = 1_000
LOOKS: Final = 3
"""A document whose new text does not match the question is overtaken for ever."""


class Outdated(Exception):
    """The collection is no longer in the state in which it was read."""


async def visible(
    ports: Ports,
    index: IndexName,
    query: Query,
    *,
    wanted: int,
    fusion: FusionSettings,
    filter: Condition | None,
    state: str | None = None,
) -> list[Passage]:
    """The best `wanted` hits whose document is as it was when they were indexed, best first. Raises `NotFound`.

    `state`: the collection must be in it when the hits are checked, or `Outdated` is raised.

    While a document is being replaced, chunks of both versions lie in the index: the search is widened until enough of
    the current ones are found. One that was replaced between the search and the look at what holds is searched again:
    its new chunks were in the index before they held.
    """
    asked, cap, stale, looks = wanted + SPARE, fusion.per_document, 0, 0
    while True:
        # Stale chunks must not use up what a document may give.
        widened = fusion if cap is None else fusion.model_copy(update={"per_document": min(100, cap + stale)})
        hits = await ports.index.search(index, query, top_k=asked, fusion=widened, filter=filter)
        ids = list(dict.fromkeys(hit.document_id for hit in hits))
        current: Mapping[str, str] = {}
        if ids or state is not None:
            now = await ports.catalogue.holding(index.tenant, index.collection, ids)
            if state not in (None, now.state):
                raise Outdated
            current = now.stamps
        fresh = [hit for hit in hits if current.get(hit.document_id) == hit.content_hash]
        overtaken = {hit.document_id for hit in hits if hit.document_id in current} - {hit.document_id for hit in fresh}
        looks += 1
        if overtaken and looks < LOOKS:
            continue
        shown = list(_capped(fresh, cap))[:wanted]
        if len(shown) == wanted or len(fresh) == len(hits) or asked == MOST or (len(hits) < asked and cap is None):
            return shown
        stale = len(hits) - len(fresh)
        asked = min(MOST, 2 * asked + stale)


def _capped(hits: Sequence[Passage], cap: int | None) -> Iterator[Passage]:
    given: Counter[str] = Counter()
    for hit in hits:
        given[hit.document_id] += 1
        if cap is None or given[hit.document_id] <= cap:
            yield hit
