"""What is wrong with the rows of a dataset: looked for row by row, and at the end among all of them."""

import math
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

from consumers.scoring.texts import text_key
from consumers.stages.dataset.rows import Row
from consumers.stages.letters import broken_characters, language, markup
from consumers.stages.near import Sketches
from consumers.stages.tables import fingerprint
from schemas.kinds.dataset import Code, Finding, Lengths

ENOUGH: Final = 20
"""With fewer rows nothing is told of what is unusual among them."""

RARE: Final = 0.05
"""A language is out of place when fewer rows than this share are in it."""

FENCE: Final = 3.0
"""Tukey's outer fences ("Exploratory Data Analysis", 1977), of logarithms: quartile ranges beyond a quartile."""

LEAST_RANGE: Final = 0.35
"""The quartile range of logarithms counts as this at least, or columns of like lengths would be full of outliers."""

REPETITIVE: Final = 0.1
"""A text of 500 bytes or more that shrinks below this share of its size says the same again and again."""

LOOKED_AT: Final = 20_000
"""Characters of a row in which languages and characters are looked for."""


@dataclass(slots=True)
class Apart:
    """The rows that a dataset must not share: those of the other one, by what they ask."""

    rows: dict[int, int] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    sketches: Sketches = field(default_factory=Sketches)

    def add(self, row: Row) -> None:
        """Remember a row."""
        asked = text_key(row.asked)
        if self.rows.setdefault(fingerprint(asked.encode()), row.number) == row.number:
            self.numbers.append(row.number)
            self.sketches.add(asked)


class Checks:
    """Takes one row after the other, and holds numbers of them, no texts: some 600 bytes a row, twice with `apart`."""

    def __init__(self, similarity: float, apart: Apart | None = None) -> None:
        self._similarity = similarity
        self._apart = apart
        self._seen: dict[int, tuple[int, int]] = {}
        self._ids: dict[int, str] = {}
        self._sketched: list[int] = []
        self._sketches = Sketches()
        self._asked: list[int] = []
        self._asked_sketches = Sketches()
        self._lengths: defaultdict[str, tuple[array[int], array[int]]] = defaultdict(lambda: (array("L"), array("L")))
        self._languages: defaultdict[str, list[int]] = defaultdict(list)
        self._lacking: dict[str, list[int]] = {"reference": [], "relevant": []}
        self._having: Counter[str] = Counter()
        self.rows = 0
        self.checked = 0

    def wrong(self, number: int, message: str) -> Finding:
        """A row that cannot be read."""
        self.rows = max(self.rows, number)
        return Finding(row=number, code="invalid", message=message)

    def add(self, row: Row) -> Iterator[Finding]:
        """What is wrong with the row by itself, and as one that repeats another."""
        self.rows = max(self.rows, row.number)
        self.checked += 1
        if row.id not in (None, str(row.number)):
            self._ids[row.number] = str(row.id)
        for column, text in row.texts.items():
            numbers, lengths = self._lengths[column]
            numbers.append(row.number)
            lengths.append(len(text))
        if row.question and row.answerable:
            for column, given in ("reference", row.answers), ("relevant", row.relevant):
                self._having[column] += bool(given)
                if not given:
                    self._lacking[column].append(row.number)
        yield from self._repeats(row)
        yield from self._shares(row)
        yield from self._looks(row)

    def finish(self) -> Iterator[Finding]:
        """What can be told only when all rows are known."""
        for place, like in self._sketches.repeats(self._similarity).items():
            other = self._sketched[like.other]
            if other != self._sketched[place]:
                why = f"it is nearly the same as row {other} ({like.similarity:.0%} of its trigrams)"
                yield self._finding(self._sketched[place], "near_duplicate", why, other, like.similarity)
        if self._apart is not None:
            for place, like in self._asked_sketches.like(self._apart.sketches, self._similarity).items():
                other = self._apart.numbers[like.other]
                why = f"it asks nearly the same as row {other} of the other dataset ({like.similarity:.0%})"
                yield self._finding(self._asked[place], "nearly_leaked", why, other, like.similarity)
        for column, rows in self._lacking.items():
            if self._having[column]:
                for row in rows:
                    yield self._finding(row, "empty", f"its {column} is empty, although other rows have one")
        yield from self._out_of_place()
        yield from self._outliers()

    def lengths(self) -> dict[str, Lengths]:
        """Quantiles by column."""
        return {column: _quantiles(lengths) for column, (_, lengths) in self._lengths.items()}

    def languages(self) -> dict[str, int]:
        """Rows by language, the most frequent first."""
        counted = Counter({name: len(rows) for name, rows in self._languages.items()})
        return dict(counted.most_common())

    def _repeats(self, row: Row) -> Iterator[Finding]:
        whole, answers = fingerprint(row.whole.encode()), fingerprint("\n".join(map(text_key, row.answers)).encode())
        first, first_answers = self._seen.setdefault(whole, (row.number, answers))
        if first == row.number:
            self._sketched.append(row.number)
            self._sketches.add(row.whole)
        elif answers == first_answers:
            yield self._finding(row.number, "duplicate", f"it repeats row {first}", first)
        else:
            why = f"it asks the same as row {first}, and its reference is another one"
            yield self._finding(row.number, "contradiction", why, first)

    def _shares(self, row: Row) -> Iterator[Finding]:
        if self._apart is None:
            return
        asked = text_key(row.asked)
        other = self._apart.rows.get(fingerprint(asked.encode()))
        if other is not None:
            yield self._finding(row.number, "leaked", f"it asks the same as row {other} of the other dataset", other)
        else:
            self._asked.append(row.number)
            self._asked_sketches.add(asked)

    def _looks(self, row: Row) -> Iterator[Finding]:
        said = "\n".join(row.texts.values())
        looked_at = said[:LOOKED_AT]
        self._languages[language(looked_at)].append(row.number)
        if broken := broken_characters(looked_at):
            yield self._finding(row.number, "characters", f"it holds characters that no text has: {', '.join(broken)}")
        if (tag := markup(looked_at)) is not None:
            yield self._finding(row.number, "markup", f"it holds HTML: {tag}")
        asked = text_key(row.asked)
        if asked and any(text_key(answer) == asked for answer in row.answers):
            yield self._finding(row.number, "echo", "its answer is the question")
        whole = said.encode(errors="replace")
        if len(whole) >= 500 and len(zlib.compress(whole, 1)) < REPETITIVE * len(whole):
            yield self._finding(row.number, "repetition", "it says the same again and again")

    def _out_of_place(self) -> Iterator[Finding]:
        if self.checked < ENOUGH:
            return
        usual = next(iter(self.languages()))
        for name, rows in self._languages.items():
            if name not in (usual, "none") and len(rows) < RARE * self.checked:
                for row in rows:
                    yield self._finding(row, "language", f"its language is {name}; that of most rows is {usual}")

    def _outliers(self) -> Iterator[Finding]:
        for column, (rows, lengths) in self._lengths.items():
            if len(lengths) < ENOUGH:
                continue
            told = _quantiles(lengths)
            low, high = math.log1p(told.p25), math.log1p(told.p75)
            reach = FENCE * max(high - low, LEAST_RANGE)
            for row, length in zip(rows, lengths, strict=True):
                if not low - reach <= math.log1p(length) <= high + reach:
                    usual = f"half of the rows have {told.p25:,} to {told.p75:,}"
                    yield self._finding(row, "length", f"its {column} has {length:,} characters; {usual}")

    def _finding(
        self, row: int, code: Code, message: str, other: int | None = None, similarity: float | None = None
    ) -> Finding:
        return Finding(row=row, code=code, message=message, id=self._ids.get(row), other=other, similarity=similarity)


def _quantiles(lengths: "array[int]") -> Lengths:
    ordered = sorted(lengths)
    last = len(ordered) - 1
    at = {f"p{share:02}": ordered[round(share / 100 * last)] for share in (5, 25, 50, 75, 95)}
    return Lengths(rows=len(ordered), mean=round(fmean(ordered), 1), min=ordered[0], max=ordered[-1], **at)
