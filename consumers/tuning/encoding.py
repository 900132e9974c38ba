"""A corpus and its questions as a worker encodes them: cut into chunks, with the terms that every setting shares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from consumers.stages.chunking import chunk
from consumers.stages.models import under_headings
from consumers.stages.ports import Embedder
from consumers.tuning.judged import Judged
from schemas.collections import CollectionSettings
from schemas.errors import JobError
from schemas.retrieval import Embedding, SparseVector

if TYPE_CHECKING:
    from infra.text.sparse import KiwiSparseEncoder

ANALYSE_AT_ONCE = 256
EMBED_AT_ONCE = 64


@dataclass(slots=True)
class Encoded:
    """Chunks in the order of their documents: their sentences' terms, their documents' numbers, their texts.

    `dense` are the vectors of chunks and of questions, a row each; `learned` the model's own sparse ones.
    """

    pieces: list[list[Sequence[int]]] = field(default_factory=list)
    document_of: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    texts: list[str] = field(default_factory=list)
    queries: list[SparseVector] = field(default_factory=list)
    dense: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    learned: tuple[list[SparseVector], list[SparseVector]] | None = None

    @property
    def arms(self) -> list[str]:
        """The arms that there are."""
        return ["sparse", *(["dense"] if self.dense else []), *(["learned"] if self.learned else [])]


def encode(
    judged: Judged, encoder: "KiwiSparseEncoder", settings: CollectionSettings, advance: Callable[[int], None]
) -> Encoded:
    """The sparse arm's terms of every chunk, and the questions. `advance` is told of documents done. Blocking."""
    found = Encoded()
    document_of: list[int] = []
    documents = iter(enumerate(judged.documents))
    while batch := list(islice(documents, ANALYSE_AT_ONCE)):
        analysed = encoder.analyse([document.text for _, document in batch], settings.sparse, settings.chunking)
        titles = encoder.analyse([document.title or "" for _, document in batch], settings.sparse)
        for (number, document), sentences, title in zip(batch, analysed, titles, strict=True):
            above = [sentence.terms for sentence in title]
            for piece in chunk(document.text, sentences, settings.chunking):
                found.pieces.append([*above, *piece.pieces])
                found.texts.append(under_headings(document.title, None, piece.text))
                document_of.append(number)
        advance(len(batch))
    found.document_of = np.array(document_of, dtype=np.intp)
    found.queries = [encoder.encode_query(question.text, settings.sparse) for question in judged.questions]
    return found


async def embed(found: Encoded, judged: Judged, embedder: Embedder, advance: Callable[[int], None]) -> None:
    """Add the model's arms. `advance` is told of texts done."""
    chunks: list[Embedding] = []
    for first in range(0, len(found.texts), EMBED_AT_ONCE):
        for made in await embedder.embed_documents(found.texts[first : first + EMBED_AT_ONCE]):
            if isinstance(made, JobError):
                raise made
            chunks.append(made)
            advance(1)
    questions = []
    for question in judged.questions:
        questions.append(await embedder.embed_query(question.text))
        advance(1)
    found.dense = (
        np.array([one.dense for one in chunks], dtype=np.float32),
        np.array([one.dense for one in questions], dtype=np.float32),
    )
    if embedder.learned:
        empty = SparseVector((), ())
        found.learned = [one.learned or empty for one in chunks], [one.learned or empty for one in questions]
