"""One shard of the embedded index: its files, the description beside them, and how it is made, opened and closed."""

import errno
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final
from uuid import UUID

from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    FloatIndexParams,
    KeywordIndexParams,
    Memory,
    Modifier,
    UpdateOperation,
)

from infra.vectors.fusion import DENSE, LEARNED, SPARSE
from infra.vectors.points import FULL_SCAN_BELOW, KEYWORDS
from schemas.errors import DependencyUnavailable
from schemas.watermarks import Watermark

DESCRIPTION: Final = "index.json"
OPTIMISE_AFTER: Final = 20_000
OPTIMISE_AT_LATEST: Final = 50_000
"""In points. Until they are optimised, their inverted index is in memory, at about 3 KB a point; afterwards in files.

A segment grows to about this size and is then left alone, so the cost of optimising depends on the new points and
hardly on the existing ones.
"""
SPARSE_BYTES: Final = 1024
"""Roughly what the engine counts as the size of a chunk's sparse vector, in bytes."""
IN_FILES: Final = Memory.Cached
"""Where an optimised shard keeps its indexes: in mapped files that are read ahead.

This is as fast as pinned memory, and the operating system can reclaim it.
"""
FLUSH_AFTER: Final = 5_000
"""In points. Until a flush the log grows, by about 4 KB a point, and opening the shard replays it."""
SEARCH_THREADS: Final = 1
"""Segments are searched one after the other in the calling thread. The engine holds Python's global lock meanwhile, so
a pool of its own (eight threads by default) answers no sooner, and waking it costs as much as the search.
"""
SEALED: Final = "id_tracker.e2i"
"""A file that exists only in a segment that takes no more points."""
PIECE: Final = 1 << 20
"""Bytes of a file that are copied at once."""
WRITTEN_ONCE: Final = ("inverted_index.dat", "page_*.dat", "matrix.dat")
"""Texts and vectors, nine tenths of a sealed segment. They never change: deletions are recorded in other files."""


@dataclass(frozen=True, slots=True)
class Description:
    """What is stored beside an index's files. `shard` names their folder; `optimised` counts its points then."""

    tenant: str
    collection: str
    generation: int
    dimension: int | None
    learned: bool
    shard: str
    optimised: int = 0
    incarnation: str | None = None
    change: int = 0
    version: int = 0

    @property
    def mark(self) -> Watermark:
        """How far the index has been written."""
        return Watermark(UUID(self.incarnation) if self.incarnation else None, self.change, self.version)


@dataclass(slots=True)
class Shard:
    """An open shard, the number of points written since it was optimised, and the number of calls that use it now.

    `ordered` names the payload fields with a number index; `unflushed` counts the points that only the log holds.
    """

    engine: EdgeShard
    folder: Path
    description: Description
    written: int
    ordered: set[str]
    unflushed: int = 0
    users: int = 0

    @property
    def due(self) -> bool:
        """Whether optimising is worth it: when the index has grown by half, within limits."""
        return self.written >= max(OPTIMISE_AFTER, min(self.description.optimised // 2, OPTIMISE_AT_LATEST))

    def raise_mark(self, mark: Watermark) -> None:
        """Record how far the index has been written; on disk on return. Most writes change nothing."""
        if mark != self.description.mark:
            incarnation = str(mark.incarnation) if mark.incarnation else None
            said = replace(self.description, incarnation=incarnation, change=mark.change, version=mark.version)
            describe(self.folder.parent, said)
            self.description = said

    def persist(self, points: int) -> None:
        """Put the points just written, this many, on disk, where they survive a machine crash.

        This syncs the engine's write-ahead log. A flush of all its files takes five times as long and holds Python's
        global lock meanwhile.
        """
        self.written += points
        self.unflushed += points
        if self.unflushed < FLUSH_AFTER:
            with suppress(FileNotFoundError):  # the engine was just replacing one of its log's files
                log = self.folder / "wal"
                for path in (*log.iterdir(), log):
                    _sync(path)
                return
        self.engine.flush()
        self.unflushed = 0


def make(folder: Path, described: Description, like: Path | None) -> None:
    """Create an empty shard with its description in `folder`, which must not exist yet.

    `like`: the files of another empty shard with the same arms, to be copied; None: the engine makes them, which holds
    Python's global lock for a quarter of a second while files are synced.
    """
    folder.mkdir()
    if like is not None:
        shutil.copytree(like, folder / described.shard, copy_function=_copy)
        sync_all(folder)
    else:
        engine = EdgeShard.create(str(folder / described.shard), _config(described))
        for field in KEYWORDS:
            engine.update(UpdateOperation.create_field_index(field, KeywordIndexParams(memory=IN_FILES)))
        engine.flush()
        engine.close()
    describe(folder, described)


def _config(described: Description) -> EdgeConfig:
    sparse = {SPARSE: _sparse_arm(Modifier.Idf)}
    if described.learned:
        sparse[LEARNED] = _sparse_arm()
    dense = (
        {DENSE: EdgeVectorParams(size=described.dimension, distance=Distance.Cosine)} if described.dimension else None
    )
    point_bytes = max(SPARSE_BYTES, 4 * (described.dimension or 0))
    return EdgeConfig(
        vectors=dense,
        sparse_vectors=sparse,
        id_tracker_memory=IN_FILES,
        max_search_threads=SEARCH_THREADS,
        optimizers=EdgeOptimizersConfig(max_segment_size=OPTIMISE_AT_LATEST * point_bytes // 1024),
    )


def order(shard: Shard, field: str) -> None:
    """Give a numeric payload field an index of its own for comparisons."""
    shard.engine.update(UpdateOperation.create_field_index(field, FloatIndexParams(memory=IN_FILES)))
    shard.ordered.add(field)


def _sparse_arm(modifier: Modifier | None = None) -> EdgeSparseVectorParams:
    return EdgeSparseVectorParams(modifier=modifier, full_scan_threshold=FULL_SCAN_BELOW, memory=IN_FILES)


def opened(folder: Path) -> Shard:
    """Open the shard in `folder`. Raises `DependencyUnavailable` when it is damaged."""
    described = described_in(folder)
    for other in folder.glob("shard*"):
        if other.name != described.shard:  # after a crash between the description's write and the removal
            shutil.rmtree(other, ignore_errors=True)
    engine = EdgeShard.load(str(folder / described.shard), _config(described))
    ordered = {field for field in engine.info().payload_schema if field not in KEYWORDS}
    written = engine.count(CountRequest(exact=True)) - described.optimised
    return Shard(engine, folder / described.shard, described, max(0, written), ordered)


def described_in(folder: Path) -> Description:
    """The description in `folder`. Raises `DependencyUnavailable` when it is damaged."""
    try:
        return Description(**json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise DependencyUnavailable(
            f"the embedded index in {folder} is damaged ({error}): stop the worker, remove the folder, and rebuild the "
            "collection"
        ) from error


def describe(folder: Path, described: Description) -> None:
    """Write the description atomically: when a folder holds two shards, it says which one counts."""
    unfinished = folder / f"{DESCRIPTION}.new"
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(asdict(described), file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / DESCRIPTION)
    _sync(folder)


def copy_files(folder: Path, to: Path) -> None:
    """Copy a shard's files, to be optimised at `to`. Nobody may write to the shard meanwhile.

    Files that the engine never writes again are hard-linked where the file system can, so that copying and syncing
    take time only for what is new.
    """
    sealed = {file.parent for file in folder.glob(f"segments/*/{SEALED}")}

    def link_or_copy(source: str, target: str) -> None:
        path = Path(source)
        if any(path.match(name) for name in WRITTEN_ONCE) and not sealed.isdisjoint(path.parents):
            with suppress(OSError):
                os.link(source, target)
                return
        _copy(source, target)

    shutil.copytree(folder, to, copy_function=link_or_copy)


def sync_all(folder: Path) -> None:
    """Sync everything in a folder to disk, so that it survives a machine crash."""
    for inner, _, files in os.walk(folder):
        for path in (*(Path(inner, name) for name in files), Path(inner)):
            _sync(path)


def close(shard: Shard) -> None:
    """Flush and close the files."""
    shard.engine.flush()
    shard.engine.close()


def _copy(source: str, target: str) -> None:
    """Copy a file without its holes: of 150 MB that an empty shard seems to have, some 200 KB are there."""
    with open(source, "rb", buffering=0) as old, open(target, "wb", buffering=0) as new:
        size, at = os.fstat(old.fileno()).st_size, 0
        new.truncate(size)
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole is left
                    return
                raise
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            while at < end:
                at += os.pwrite(new.fileno(), os.pread(old.fileno(), min(PIECE, end - at), at), at)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
