"""The texts of graders, with question, reference and answer in their places."""

import re
from collections.abc import Mapping
from typing import Final

from consumers.scoring.given import Given, compared
from schemas.kinds.evaluation.items import Item

_PLACE: Final = re.compile(r"\{\{[a-z_.]+\}\}")


def places_of(item: Item, given: Given) -> dict[str, str]:
    """What takes the places in a grader's texts."""
    return {
        "{{item.question}}": item.question,
        "{{item.reference}}": item.references[0] if item.references else "",
        "{{sample.output_text}}": compared(given),
    }


def filled(template: str, places: Mapping[str, str]) -> str:
    """The text with everything in its place, in one pass, so that what a text holds is not taken for a place."""
    return _PLACE.sub(lambda found: places.get(found[0], found[0]), template)
