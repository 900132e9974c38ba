"""The one Kiwi analyser of a process, under the sparse encoder, the sentence splitter and the extractive generator."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import NamedTuple

from kiwipiepy import Kiwi

from schemas.errors import DependencyUnavailable

WINDOW_CHARS = 8_000
"""Kiwi builds a lattice over all it is given: longer text is handed over in windows, so that memory stays flat."""

_BLANK = re.compile(r"\s")
_UNREADABLE = re.compile("[\x00\ud800-\udfff]")


class Morpheme(NamedTuple):
    """A morpheme: its dictionary form and its tag in Kiwi's tag set (Sejong, extended)."""

    form: str
    tag: str


class KiwiAnalyser:
    """Kiwi, loaded at first use (about 2.5 s, 0.5 GB) and safe to call from any number of threads.

    Kiwi lets go of the interpreter lock while it works. `workers`: threads of its own for a batch.
    """

    def __init__(self, workers: int = 2) -> None:
        self._workers = workers
        self._kiwi: Kiwi | None = None
        self._lock = Lock()

    def load(self) -> Kiwi:
        """The loaded Kiwi; loads it when this is the first call. Raises `DependencyUnavailable` if it cannot."""
        if self._kiwi is None:
            with self._lock:
                if self._kiwi is None:
                    try:
                        kiwi = Kiwi(num_workers=self._workers)
                        # Kiwi defers building its tables to the first analysis, which is not safe to do twice at once.
                        kiwi.tokenize("준비")
                    except (OSError, MemoryError) as error:
                        raise DependencyUnavailable(f"Kiwi could not load its model: {error}") from error
                    self._kiwi = kiwi
        return self._kiwi

    def morphemes(self, texts: Sequence[str]) -> Iterator[list[Morpheme]]:
        """The morphemes of each text, in order; one text of any length costs memory for a few windows only."""
        kiwi = self.load()
        spans = [windows(text) for text in texts]
        pieces = (text[start:end] for text, cuts in zip(texts, spans, strict=True) for start, end in cuts)
        tokenised: Iterable[list[Morpheme]] = (
            [Morpheme(token.form, str(token.tag)) for token in tokens] for tokens in kiwi.tokenize(pieces)
        )
        analysed = iter(tokenised)
        for cuts in spans:
            yield [morpheme for tokens in islice(analysed, len(cuts)) for morpheme in tokens]


@lru_cache(maxsize=1)
def shared_analyser() -> KiwiAnalyser:
    """The analyser that everything in this process shares, because each copy costs half a gigabyte."""
    return KiwiAnalyser()


def readable(text: str) -> str:
    """`text` with a blank for each NUL and lone surrogate, which Kiwi cannot read; of the same length."""
    return _UNREADABLE.sub(" ", text)


def windows(text: str, size: int = WINDOW_CHARS) -> list[tuple[int, int]]:
    """Half-open offsets that cover `text` in pieces of at most `size` characters, cut at white space if there is any.

    White space is looked for in the last quarter of a piece; a piece without any is cut at `size`.
    """
    cuts: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        end = min(start + size, len(text))
        if end < len(text):
            blanks = list(_BLANK.finditer(text, end - size // 4, end))
            end = blanks[-1].end() if blanks else end
        cuts.append((start, end))
        start = end
    return cuts
