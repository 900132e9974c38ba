"""Compares an index with the catalogue: when it is opened, and when a stage finds what cannot be true of both."""

from consumers.stages.ports import IndexDoubts, VectorIndex
from schemas.retrieval import IndexName
from schemas.watermarks import Doubt


async def compare(doubts: IndexDoubts, index: VectorIndex, name: IndexName) -> Doubt | None:
    """Why the index does not hold what the catalogue says; None when it does, or when no collection names it."""
    before = await doubts.claim(name)
    if before is None:
        return None
    return await doubts.compare(name, before, await index.mark(name))
