"""What the stages of `indexing` hand on to each other."""

from pydantic import BaseModel

from schemas.kinds.indexing import DocumentError, IndexingResult


class Numbered(BaseModel):
    """What `plan` keeps for its own next try: the version of its job, drawn once.

    The job with the higher version wins.
    """

    version: int


class Planned(BaseModel):
    """From `plan` to `swap` and `report`. `parts`: the folder of the parts' blobs; `sizes`: documents in each of them.

    `deleted`, `failed` and `errors` are of what `plan` did itself. `rebuild`: the generation of the index that is being
    built; `round` counts how often `swap` has caught up with writers.
    """

    parts: str
    sizes: list[int]
    deleted: int
    failed: int
    errors: list[DocumentError]
    rebuild: int | None
    round: int = 0


class Points(BaseModel):
    """Points on their way into an index. `points`: their blob; `discard`: blobs to remove when all is done.

    `embedder`: the model that the index is made with. `dimension` and `learned` are that model's, once it has run.
    """

    embedder: str | None
    points: str
    discard: list[str]
    result: IndexingResult
    dimension: int | None = None
    learned: bool = False


class PreparedDocument(BaseModel):
    """A document of a part. `offset` and `length` in bytes: where its packed text lies in the source.

    `bytes`: of its text in UTF-8. `chunks`: how many it was cut into.
    """

    id: str
    content_hash: str
    bytes: int
    offset: int
    length: int
    chunks: int = 0


class PartPoints(Points):
    """From `prepare` to `embed` and `upsert`. `source`: the blob of the documents' texts."""

    generation: int
    source: str
    documents: list[PreparedDocument]


class BuiltDocument(BaseModel):
    """A document of a rebuild, as it was when it was read. `deleted`: it has no points in the new index."""

    id: str
    version: int
    chunks: int
    deleted: bool


class RebuildPoints(Points):
    """From `rebuild_prepare` to `embed` and `rebuild_upsert`."""

    documents: list[BuiltDocument]
