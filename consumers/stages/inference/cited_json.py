"""Citations of an answer in JSON: numbers in brackets in its texts, and the list `citations` at its top."""

import json
from typing import Any, Final

from consumers.stages.inference.citations import Cited, cited

LISTED: Final = "citations"
DEEPEST: Final = 100


def cited_json(text: str, count: int) -> Cited | None:
    """The same as `cited` for a JSON object or list; None for anything else, such as JSON that was cut."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict | list):
        return None
    reading = _Reading(count)
    read = reading.value(found, DEEPEST)
    if isinstance(read, dict) and isinstance(listed := read.get(LISTED), list):
        read[LISTED] = reading.numbers(listed)
    return Cited(json.dumps(read, ensure_ascii=False), reading.order, reading.dropped)


class _Reading:
    """Renumbers as it goes through the answer, in its order."""

    def __init__(self, count: int) -> None:
        self.order: list[int] = []
        self.dropped = 0
        self._count = count

    def value(self, value: Any, depth: int) -> Any:
        """The same value, the citations in its texts renumbered."""
        if depth == 0:
            return value
        match value:
            case str():
                return self._text(value)
            case dict():
                return {name: self.value(one, depth - 1) for name, one in value.items()}
            case list():
                return [self.value(one, depth - 1) for one in value]
        return value

    def numbers(self, listed: list[Any]) -> list[Any]:
        """A list of numbers of passages: renumbered, without unknown ones. Anything else stays."""
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in listed):
            return listed
        known = [one for one in dict.fromkeys(listed) if 1 <= one <= self._count]
        self.dropped += len(set(listed)) - len(known)
        return [self._new(one - 1) for one in known]

    def _text(self, text: str) -> str:
        read = cited(text, self._count, self.order)
        self.dropped += read.dropped
        return read.text

    def _new(self, passage: int) -> int:
        if passage not in self.order:
            self.order.append(passage)
        return self.order.index(passage) + 1
