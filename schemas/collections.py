"""How one collection cuts, encodes and ranks: settings that belong to it, not to the deployment."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from schemas.watermarks import Doubt

MAX_COLLECTIONS = 1_000
"""Collections of one tenant; each has its own index."""

MAX_WORDS = 10_000
MAX_SYNONYMS = 5_000
MAX_SYNONYM_WORDS = 20_000
MAX_SYNONYM_CHARS = 100_000
"""Of all groups together. The first question that meets a word has it analysed, at some 50 µs a character."""

STORED = {"stored": True}
"""The context to validate settings with that were accepted before: limits may have come since."""

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class Chunking(BaseModel):
    """Windows of whole sentences that share `overlap_sentences` with the one before.

    A window holds at most `max_chars` characters and, where given, at most `max_tokens` morphemes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_chars: int = Field(400, ge=50, le=4_000)
    max_tokens: int | None = Field(None, ge=16, le=8_192)
    overlap_sentences: int = Field(1, ge=0, le=5)


class SparseSettings(BaseModel):
    """The sparse arm. `k1` and `b` are BM25's (Robertson and Zaragoza 2009, section 3).

    `words` are names that the analyser would split ("위립"). `synonyms` are groups: a query with one word of a group
    searches for all of them. `correct_spacing` corrects queries with blanks within words ("대한 민 국의 수도").
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    k1: float = Field(0.6, ge=0, le=10)
    b: float = Field(0.4, ge=0, le=1)
    words: tuple[Word, ...] = Field((), max_length=MAX_WORDS)
    synonyms: tuple[tuple[Word, ...], ...] = Field((), max_length=MAX_SYNONYMS)
    correct_spacing: bool = False

    @field_validator("synonyms")
    @classmethod
    def _groups(cls, groups: tuple[tuple[str, ...], ...], info: ValidationInfo) -> tuple[tuple[str, ...], ...]:
        for position, group in enumerate(groups):
            if not 2 <= len(set(group)) <= 50:
                raise ValueError(f"synonyms[{position}] must name 2 to 50 different words")
        if info.context != STORED:
            words, characters = sum(map(len, groups)), sum(len(word) for group in groups for word in group)
            if words > MAX_SYNONYM_WORDS:
                raise ValueError(f"at most {MAX_SYNONYM_WORDS:,} words in all groups together, not {words:,}")
            if characters > MAX_SYNONYM_CHARS:
                raise ValueError(f"at most {MAX_SYNONYM_CHARS:,} characters in all groups together, not {characters:,}")
        return groups


class FusionWeights(BaseModel):
    """How much each arm counts; only their ratio matters. An arm that a collection lacks does not count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sparse: float = Field(0.5, ge=0, le=1)
    dense: float = Field(0.5, ge=0, le=1)
    learned: float = Field(0.0, ge=0, le=1, description="The embedding model's own sparse vectors (bge-m3).")

    @model_validator(mode="after")
    def _some(self) -> "FusionWeights":
        if self.sparse + self.dense + self.learned <= 0:
            raise ValueError("give at least one arm a weight above 0")
        return self


class FusionSettings(BaseModel):
    """How the arms' hits become one ranking.

    `minmax` scales each arm's best `depth` to 0..1 and adds them by weight (Lee 1997); `auto` does so with weights that
    it moves for each question; `rrf` adds weighted reciprocal ranks, `weight / (rank + rrf_k)` (Cormack, Clarke and
    Buettcher 2009). Then a chunk's score becomes `document_share` of the best score in its document plus the rest of
    its own, and a document gives at most `per_document` chunks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["auto", "minmax", "rrf"] = "auto"
    weights: FusionWeights = FusionWeights()
    depth: int = Field(50, ge=1, le=1_000)
    rrf_k: int = Field(60, ge=1, le=1_000)
    document_share: float = Field(0.0, ge=0, le=0.9)
    per_document: int | None = Field(None, ge=1, le=100)


class CollectionSettings(BaseModel):
    """All of a collection's settings. A change of `chunking`, `k1`, `b` or `words` reindexes its documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chunking: Chunking = Chunking()
    sparse: SparseSettings = SparseSettings()
    fusion: FusionSettings = FusionSettings()

    def shapes_vectors(self) -> dict[str, object]:
        """The part that stored vectors depend on. While it is equal, no new index is needed."""
        return {
            "chunking": self.chunking.model_dump(),
            "sparse": self.sparse.model_dump(include={"k1", "b", "words"}),
        }

    def changed(self, change: Mapping[str, Any]) -> "CollectionSettings":
        """These settings with those that an accepted `change` names. Raises `pydantic.ValidationError`."""
        merged = json.dumps(_merged(self.model_dump(), change))
        return CollectionSettings.model_validate_json(merged, strict=True, context=STORED)


def _merged(kept: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    inner = {name: _merged(kept[name], value) for name, value in change.items() if _both(kept.get(name), value)}
    return {**kept, **change, **inner}


def _both(kept: object, value: object) -> bool:
    return isinstance(kept, Mapping) and isinstance(value, Mapping)


class EncoderView(BaseModel):
    """What a collection's vectors are made with; `dense` and `dimension` are null where it has no dense arm.

    `learned`: the dense model also gives its own term weights.
    """

    sparse: str
    dense: str | None
    dimension: int | None
    learned: bool


class RebuildJob(BaseModel):
    """A collection being indexed again: by which job."""

    job: str
    links: dict[str, str]


class RebuildView(RebuildJob):
    """The same, and with which settings afterwards."""

    settings: CollectionSettings


class CollectionSummary(BaseModel):
    """A collection in a list: without its settings and fields, which may be large.

    `bytes` counts the UTF-8 text of its documents. `generation` names the index that is searched, another one after
    each rebuild. `rebuild`: the job that indexes it again. `doubt`: why that index does not hold what the catalogue
    says, as after a restore. Until the collection is rebuilt, searches fail with `index_restored`.
    """

    name: str
    object: Literal["collection"] = "collection"
    documents: int
    chunks: int
    bytes: int
    encoder: EncoderView
    generation: int
    doubt: Doubt | None
    rebuild: RebuildJob | None
    created_at: datetime


class CollectionView(CollectionSummary):
    """A collection in full; `fields` are the metadata it can be filtered by."""

    settings: CollectionSettings
    rebuild: RebuildView | None
    fields: list[str]


class CollectionPage(BaseModel):
    """A tenant's collections by name; pass the last name as `after` for the next page."""

    data: list[CollectionSummary]
    has_more: bool
