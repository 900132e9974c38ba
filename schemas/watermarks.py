"""How far an index was written, as index and catalogue each say: this finds out that one of them was restored."""

from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID


class Doubt(StrEnum):
    """Why an index does not hold what the catalogue says."""

    NEWER = "index_newer"
    """It was changed by what the catalogue knows nothing of: the catalogue was restored from an older backup."""
    OLDER = "index_older"
    """It lacks points of which the catalogue says that they were written: the index was restored."""
    MISSING = "index_missing"
    """It is not there."""


@dataclass(frozen=True, slots=True)
class Age:
    """How far the catalogue has gone: the highest number it gave, and the copy of the database that it lives in."""

    number: int
    copy: str

    def follows(self, before: "Age") -> bool:
        """Whether this may be `before` a while later, with nothing restored between."""
        return self.copy == before.copy and self.number >= before.number


@dataclass(frozen=True, slots=True)
class Change:
    """A change that the catalogue has recorded in an index: the `number`th one of the generation `incarnation`."""

    incarnation: UUID
    number: int


@dataclass(frozen=True, slots=True)
class Watermark:
    """What an index holds of its own history, 0 and None in one that is older than watermarks.

    `change` is the highest number of a `Change` whose points it removed, `version` the highest version of a point that
    it was given.
    """

    incarnation: UUID | None = None
    change: int = 0
    version: int = 0

    def follows(self, change: Change) -> bool:
        """Whether the index was written to by this catalogue alone, and not further than to `change`."""
        return self.incarnation in (None, change.incarnation) and self.change <= change.number

    def raised(self, change: Change) -> "Watermark":
        """After `change`; the same where the index belongs to another catalogue, so that this is not forgotten."""
        if self.incarnation not in (None, change.incarnation):
            return self
        return replace(self, incarnation=change.incarnation, change=max(self.change, change.number))


@dataclass(frozen=True, slots=True)
class Claim:
    """What the catalogue says of an index at one moment.

    `last` is its last change, `version` the highest version of which it recorded points, `documents` whether any
    document has points in it.
    """

    last: Change
    version: int
    documents: bool


def doubt_of(before: Claim, mark: Watermark | None, after: Claim) -> Doubt | None:
    """Whether catalogue and index contradict each other; `mark` was read between the two claims, None without an index.

    The order matters while others write. They write points, record them, and remove older ones. So what the catalogue
    claimed before must be in the index, and what the index went through must be in the catalogue after.
    """
    if mark is None:
        return Doubt.MISSING if before.documents and after.documents else None
    if not mark.follows(after.last):
        return Doubt.NEWER
    return Doubt.OLDER if before.version > mark.version else None
