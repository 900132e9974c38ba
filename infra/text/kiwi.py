"""The process's single Kiwi analyser, used by the sparse encoder and the extractive generator."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from threading import Lock
from typing import Final, NamedTuple

from kiwipiepy import Kiwi, Token

from infra.process import cores
from schemas.errors import DependencyUnavailable

WINDOW_CHARS: Final = 8_000
"""Kiwi builds a lattice over its whole input, so longer text goes to it in windows, which keeps memory flat."""

MAX_WORKERS: Final = 8
"""One Python thread collects the workers' results; more workers would only wait for it."""

BEAM: Final = 4.0
"""Kiwi's `cutoff_threshold`: readings that fall this far behind the best one are dropped.

Kiwi's default, 8, takes a fifth longer and reads 0.24 % of the morphemes differently; retrieval is equally good
with either (decision 0024).
"""

Spans = list[tuple[int, int, str]]
"""Stretches of a text that are one morpheme each: (start, end, tag)."""

_SENTENCE_END: Final = re.compile(r"\n\s*|[.?!…][\"')\]’”]*\s+")
_BLANK: Final = re.compile(r"\s")


class Window(NamedTuple):
    """A stretch of the text of that number: its half-open offsets, and its tokens with offsets from `start`."""

    text: int
    start: int
    end: int
    tokens: list[Token]


class KiwiAnalyser:
    """Kiwi, loaded on first use (about 2.5 s, 0.5 GB) and safe to call from any number of threads.

    Kiwi releases the interpreter lock while it works. `workers` is the number of Kiwi's own threads for a batch; the
    default is one for each core that this process may use, up to `MAX_WORKERS`.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or min(cores(), MAX_WORKERS)
        self._kiwi: Kiwi | None = None
        self._lock = Lock()

    def load(self) -> Kiwi:
        """The loaded Kiwi; the first call loads it. Raises `DependencyUnavailable` if that fails."""
        if self._kiwi is None:
            with self._lock:
                if self._kiwi is None:
                    try:
                        kiwi = Kiwi(num_workers=self._workers)
                        kiwi.global_config.cutoff_threshold = BEAM
                        # Kiwi builds its tables in the first analysis, which must not run twice at once.
                        kiwi.tokenize("준비")
                    except (OSError, MemoryError) as error:
                        raise DependencyUnavailable(f"Kiwi could not load its model: {error}") from error
                    self._kiwi = kiwi
        return self._kiwi

    def windows(self, texts: Sequence[str], known: Callable[[str], Spans] | None = None) -> Iterator["Window"]:
        """The texts window by window, in order, so that memory does not grow with them. An empty text has no windows.

        `known` returns the stretches of a window that are one morpheme whatever Kiwi thinks.
        """
        kiwi = self.load()
        cuts = [(number, *span) for number, text in enumerate(texts) for span in windows(text)]
        pieces = (texts[number][start:end] for number, start, end in cuts)
        analysed: Iterable[list[Token]]
        if len(cuts) == 1 or self._workers == 1:
            # Without Kiwi's threads: a handover takes as long as a question does, and a forked process has none.
            analysed = (kiwi.tokenize(piece, pretokenized=known) for piece in pieces)
        else:
            analysed = kiwi.tokenize(pieces, pretokenized=known)
        for cut, tokens in zip(cuts, analysed, strict=True):
            yield Window(*cut, tokens)


@lru_cache(maxsize=1)
def shared_analyser() -> KiwiAnalyser:
    """The analyser that the whole process shares, because each copy costs half a gigabyte."""
    return KiwiAnalyser()


def windows(text: str, size: int = WINDOW_CHARS) -> list[tuple[int, int]]:
    """Half-open offsets of pieces that cover `text`, each at most `size` characters long.

    A piece ends where a sentence or line seems to end in its last quarter, else at white space there, else at `size`.
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
    """The end of the pattern's last match in `text[start:end]`; 0 when there is none."""
    return max((match.end() for match in pattern.finditer(text, start, end)), default=0)
