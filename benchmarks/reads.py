"""What readers of texts saw while these were written, and how late it was."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Read:
    """What one reader saw: when each piece came (its end in the text, nanoseconds since 1970), and the final text.

    `followed_at`: when it asked for the text, in nanoseconds since 1970.
    """

    job: str = ""
    asked_at: float = 0.0
    followed_at: int = 0
    first_ms: float | None = None
    text: str = ""
    pieces: list[tuple[int, int]] = field(default_factory=list)
    final: str = ""


def lags_of(read: Read, written: Sequence[tuple[int, int]], until: int) -> list[float]:
    """For each piece that the engine wrote: how many milliseconds later a piece that holds its end came to the reader.

    `written` is like `Read.pieces`. What was written before the reader asked for it counts from there; what came after
    `until` does not count.
    """
    found, seen = list[float](), iter(read.pieces)
    end, at = next(seen, (0, 0))
    for length, wrote_at in written:
        while end < length and (later := next(seen, None)) is not None:
            end, at = later
        if end >= length and at < until:
            found.append((at - max(wrote_at, read.followed_at)) / 1e6)
    return found


def quantile(values: Sequence[float], percent: float) -> float | None:
    """In the unit of the values."""
    return round(float(np.percentile(values, percent)), 1) if values else None


def shown(values: Sequence[float]) -> str:
    """Median and p95 of times."""
    return f"{quantile(values, 50)} ms, p95 {quantile(values, 95)} ms"
