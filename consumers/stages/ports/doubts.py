"""Whether an index holds what the catalogue says of it."""

from typing import Protocol

from schemas.retrieval import IndexName
from schemas.watermarks import Claim, Doubt, Watermark


class IndexDoubts(Protocol):
    """The catalogue's side of the comparison; `consumers/stages/comparing.py` makes it."""

    async def claim(self, index: IndexName) -> Claim | None:
        """What the catalogue says of the index now; None when no collection names it."""

    async def compare(self, index: IndexName, before: Claim, mark: Watermark | None) -> Doubt | None:
        """Whether the index contradicts the catalogue, as `doubt_of` decides.

        The first who finds it notes it at the collection, which is rebuilt then; a rebuild whose index it is ends.
        """
