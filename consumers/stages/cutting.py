"""Cuts answers, written as lines to a blob, into slices: each is scored by a child of its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from schemas.kinds.evaluation.judge import Slice

JUDGED_AT_ONCE: Final = 10
"""Answers in a slice for the judge: what a retry looks up again, and with eleven calls each enough for one job.

Answers to one question are never parted, because the judge is asked much the same about them.
"""


def lines_a_slice(variants: int) -> int:
    """How many lines are in a slice for the judge."""
    return variants * max(1, JUDGED_AT_ONCE // variants)


@dataclass
class Cutting:
    """Where slices of `each` lines begin in a stream of lines."""

    each: int
    starts: list[int] = field(default_factory=list)
    size: int = 0
    lines: int = 0

    async def through(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The stream as it is; every piece holds whole lines."""
        async for piece in pieces:
            for line in piece.splitlines(keepends=True):
                if self.lines % self.each == 0:
                    self.starts.append(self.size)
                self.lines += 1
                self.size += len(line)
            yield piece

    def slices(self, blob: str, every: int = 1) -> list[Slice]:
        """The slices of the blob that the stream went to; with `every` > 1, so many in one."""
        ends = [*self.starts[every::every], self.size]
        return [
            Slice(blob=blob, start=start, length=end - start)
            for start, end in zip(self.starts[::every], ends, strict=True)
        ]
