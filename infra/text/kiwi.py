"""The one Kiwi analyser of a process, under the sparse encoder and the extractive generator."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from threading import Lock
from typing import Final, NamedTuple

from kiwipiepy import Kiwi, Token

from infra.process import cores
from schemas.errors import DependencyUnavailable

WINDOW_CHARS: Final = 8_000
"""Kiwi builds a lattice over all it is given: longer text is handed over in windows, so that memory stays flat."""

MAX_WORKERS: Final = 8
"""One Python thread collects the workers' results; with more workers it would be the bottleneck."""

BEAM: Final = 4.0
"""Kiwi's `cutoff_threshold`: readings that fall this far behind the best one are dropped.

Its default of 8 takes a fifth longer and reads 0.24 % of the morphemes differently; retrieval is equally good with
either (decision 0024).
"""

Spans = list[tuple[int, int, str]]
"""Stretches of a text that are one morpheme each: start, end and tag."""

_SENTENCE_END: Final = re.compile(r"\n\s*|[.?!…][\"')\]’”]*\s+")
_BLANK: Final = re.compile(r"\s")


class Window(NamedTuple):
    """A stretch of the text with that number: its half-open offsets, and its tokens with offsets from `start`."""

    text: int
    start: int
    end: int
    tokens: list[Token]


class KiwiAnalyser:
    """Kiwi, loaded at first use (about 2.5 s, 0.5 GB) and safe to call from any number of threads.

    Kiwi releases the interpreter lock while it works. `workers`: threads of its own for a batch, by default one for
    each core that this process may use, up to `MAX_WORKERS`.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or min(cores(), MAX_WORKERS)
        self._kiwi: Kiwi | None = None
        self._lock = Lock()

    def load(self) -> Kiwi:
        """The loaded Kiwi; loads it when this is the first call. Raises `DependencyUnavailable` if it cannot."""
        if self._kiwi is None:
            with self._lock:
                if self._kiwi is None:
                    try:
                        kiwi = Kiwi(num_workers=self._workers)
                        kiwi.global_config.cutoff_threshold = BEAM
                        # Kiwi defers building its tables to the first analysis, which is not safe to do twice at once.
                        kiwi.tokenize("준비")
                    except (OSError, MemoryError) as error:
                        raise DependencyUnavailable(f"Kiwi could not load its model: {error}") from error
                    self._kiwi = kiwi
        return self._kiwi

    def windows(self, texts: Sequence[str], known: Callable[[str], Spans] | None = None) -> Iterator["Window"]:
        """The texts window by window, in order, so that memory is flat in their length. An empty text has none.

        `known` names the stretches of a window that are one morpheme whatever Kiwi thinks.
        """
        kiwi = self.load()
        cuts = [(number, *span) for number, text in enumerate(texts) for span in windows(text)]
        pieces = (texts[number][start:end] for number, start, end in cuts)
        analysed: Iterable[list[Token]]
        if len(cuts) == 1 or self._workers == 1:
            # The way to one of Kiwi's threads and back takes as long as a question does, and a forked process has none.
            analysed = (kiwi.tokenize(piece, pretokenized=known) for piece in pieces)
        else:
            analysed = kiwi.tokenize(pieces, pretokenized=known)
        for cut, tokens in zip(cuts, analysed, strict=True):
            yield Window(*cut, tokens)


@lru_cache(maxsize=1)
def shared_analyser() -> KiwiAnalyser:
    """The analyser that everything in this process shares, because each copy costs half a gigabyte."""
    return KiwiAnalyser()


def windows(text: str, size: int = WINDOW_CHARS) -> list[tuple[int, int]]:
    """Half-open offsets that cover `text` in pieces of at most `size` characters.

    A piece ends where a sentence or a line seems to end in its last quarter, else at white space there, else at `size`.
    """
    cuts: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        end = min(start + size, len(text))
        if end < len(text):
            end = _last(_SENTENCE_END, text, end - size // 4, end) or _last(_BLANK, text, end - size // 4, end) or end
        cuts.append((start, end))
        start = end
    return cuts


def _last(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    """The end of the pattern's last match in `text[start:end]`, 0 where there is none."""
    return max((match.end() for match in pattern.finditer(text, start, end)), default=0)
