"""What a variant gave for an item, and which metrics say something about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consumers.scoring.texts import without_citations
from schemas.kinds.evaluation.items import Item
from schemas.kinds.evaluation.metrics import Needs, metric


@dataclass(frozen=True, slots=True)
class Given:
    """What a variant gave for an item. `text`: None when it made no answer. `documents`: those of its chunks, ranked.

    `succeeded`: whether its job did. `found`: whether it says that it answers the question.
    """

    succeeded: bool
    text: str | None = None
    found: bool = True
    documents: Sequence[str] = field(default_factory=tuple)


def applies(name: str, item: Item) -> bool:
    """Whether a metric says something about an item."""
    match metric(name).needs:
        case Needs.REFERENCE:
            return item.answerable and bool(item.references)
        case Needs.RELEVANT:
            return bool(item.relevant)
        case Needs.ANSWERABLE:
            return item.answerable
        case Needs.UNANSWERABLE:
            return not item.answerable
        case Needs.NOTHING:
            return True


def texts(item: Item, given: Given) -> list[str]:
    """The texts whose morphemes `scores` asks for."""
    return [compared(given), *item.references]


def compared(given: Given) -> str:
    """What is compared with the references: an honest "not found" is no answer, whatever its words."""
    return without_citations(given.text) if given.text and given.found else ""
