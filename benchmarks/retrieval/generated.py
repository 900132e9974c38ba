"""Large corpora made by shuffling the data's own sentences: as much text as wanted, with real words in it."""

import json
import random
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from consumers.tuning.judged import Judged

SENTENCES_A_DOCUMENT = 4
_END = re.compile(r"(?<=[.!?])\s+")


def texts(judged: Judged, *, seed: int = 0) -> Iterator[str]:
    """Endlessly many documents, each a paragraph of four randomly drawn sentences; a seed always gives the same."""
    sentences = [part for document in judged.documents for part in _END.split(document.text) if len(part) > 1]
    chosen = random.Random(seed)
    while True:
        yield " ".join(chosen.choices(sentences, k=SENTENCES_A_DOCUMENT))


def write_corpus(
    path: Path, judged: Judged, *, documents: int | None = None, size: int | None = None, seed: int = 0
) -> int:
    """Write a JSONL corpus of `documents` rows or of `size` bytes; returns the number of rows."""
    written = 0
    with path.open("wb") as file:
        for number, text in zip(count(1), texts(judged, seed=seed)):
            if number - 1 == documents or (size is not None and written >= size):
                return number - 1
            written += file.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False).encode() + b"\n")
    raise AssertionError("texts without end ended")
