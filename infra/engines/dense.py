"""Dense vectors as the index wants them: finite, and of length 1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import JobError
from schemas.retrieval import Embedding, SparseVector


def embeddings(vectors: NDArray[Any], learned: Sequence[SparseVector] | None = None) -> list[Embedding]:
    """One embedding a row. Raises `JobError` (`embedding_invalid`) for a row that has no direction."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise JobError(
            "the embedding model gave a vector of zeros or of no numbers; another model or device may help",
            code="embedding_invalid",
        )
    dense = (rows / lengths).tolist()
    return [Embedding(vector, learned[at] if learned else None) for at, vector in enumerate(dense)]
