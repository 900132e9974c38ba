"""Which collections and documents exist, with their versions. Postgres is behind it; its statements are the fence."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from schemas.catalogue import CollectionRecord, Holding, IndexRecord, Recorded, Standing, StoredDocument, Unbuilt
from schemas.collections import CollectionSettings


class CatalogueReader(Protocol):
    """Read access to collections and documents."""

    async def collection(self, tenant: str, name: str) -> CollectionRecord:
        """The collection. Raises `NotFound` (`collection_not_found`)."""

    async def content(self, tenant: str, name: str) -> str | None:
        """A text that is another one after every change of documents or settings; None without such a collection."""

    def remembered(self, tenant: str, name: str) -> CollectionRecord | None:
        """The collection as it was when this process last read it, if it knows; `holding` says whether it still is."""

    async def holding(self, tenant: str, name: str, ids: Sequence[str]) -> Holding:
        """The collection's state, and the content hash that the points of each of these documents have now.

        A hit with another hash is not shown.
        """

    async def documents(self, tenant: str, name: str, ids: Sequence[str]) -> dict[str, StoredDocument]:
        """The known ones among `ids` that are not deleted."""

    async def sample(self, tenant: str, name: str, *, seed: int, limit: int) -> list[StoredDocument]:
        """As many documents at most, drawn at random; the same for the same seed, as long as none comes or goes."""


class CatalogueWriter(Protocol):
    """What an indexing job reads and records about the collection it writes to."""

    async def begin(
        self,
        job: UUID,
        tenant: str,
        name: str,
        *,
        settings: CollectionSettings | None,
        encoder: str,
        embedder: str | None,
    ) -> tuple[CollectionRecord, int]:
        """The collection and the job's version, the same whenever the job asks again.

        A collection that does not exist is made, unless `settings` is None: then `NotFound`.
        """

    async def touch(self, tenant: str, name: str, version: int, hashes: Mapping[str, str]) -> set[str]:
        """Say that the documents are as `version` wants them, where they have that content hash; the ids that do."""

    async def add_fields(self, tenant: str, name: str, fields: Collection[str]) -> None:
        """Metadata fields that documents are about to have."""

    async def expect_source(self, blob: str, job: UUID) -> None:
        """Say that the job is about to write a blob of parsed texts.

        `record` must name it within a day, and before the job fails or is cancelled.
        """

    async def standing(self, tenant: str, name: str, generation: int, version: int) -> Standing:
        """The present state of the index for a job of `version`."""

    async def settled(self, tenant: str, name: str, version: int, ids: Sequence[str]) -> bool:
        """Whether this or a higher version has spoken about each of the documents."""

    async def record(
        self, tenant: str, name: str, generation: int, version: int, documents: Sequence[StoredDocument]
    ) -> Recorded:
        """Let documents hold whose points are written, in one commit; all of one source blob, all of `version`."""

    async def forget(self, tenant: str, name: str, version: int, ids: Sequence[str]) -> Recorded:
        """Delete documents, also unknown ones. `changed` are those that existed."""

    async def drop(self, tenant: str, name: str, *, made_before: datetime) -> None:
        """Remove a collection that was made before that time with its documents; its indexes become leftovers."""

    async def leftovers(self, tenant: str, name: str) -> list[int]:
        """Generations that no collection names, and for which `let_go` has not been called."""

    async def let_go(self, tenant: str, name: str, generation: int) -> None:
        """Record that a leftover's index is dropped."""

    def hold(
        self, tenant: str, name: str, generation: int, *, dimension: int | None, learned: bool
    ) -> AbstractAsyncContextManager[bool]:
        """Let nothing make the generation a leftover while the block runs; False when it is none of the collection's.

        Notes the generation's arms. Raises `Conflict` (`dimension_mismatch`) when it has others.
        """

    async def change(self, tenant: str, name: str, given: Mapping[str, Any]) -> None:
        """Merge the settings that shape no vectors at once. Raises `InvalidInput`, and `NotFound`."""


class RebuildCatalogue(Protocol):
    """The index of a collection that is being built beside the one that is searched."""

    async def start_building(
        self, job: UUID, tenant: str, name: str, given: Mapping[str, Any], *, encoder: str, embedder: str | None
    ) -> IndexRecord:
        """Begin a new index for the collection with `given` merged into its settings; the same when asked again.

        Raises `Conflict` (`rebuild_running`) while another job that lives builds one, and `InvalidInput`.
        """

    async def unbuilt(
        self, tenant: str, name: str, generation: int, *, after: str = "", last: str | None = None, limit: int
    ) -> list[Unbuilt]:
        """Documents that the index lacks, in order of their ids, after `after` and up to `last`."""

    async def built(
        self, tenant: str, name: str, generation: int, documents: Sequence[tuple[str, int, int]]
    ) -> Recorded:
        """Say that the index has these `(id, version, chunks)`; one that was written since stays unbuilt."""

    async def seal(self, tenant: str, name: str, generation: int, seconds: float) -> None:
        """Make writers wait for that long, so that no more documents become unbuilt."""

    async def swap(self, tenant: str, name: str, generation: int) -> bool:
        """Let the built index be the one that is searched; False when it lacks a document, or is not being built."""

    async def abandon(self, tenant: str, name: str, job: UUID | None = None) -> None:
        """End the build of `job`, or of a job that has ended; its index becomes a leftover."""
