"""The shards of the embedded index: one folder each, opened on demand; those above a limit are closed."""

import fcntl
import os
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

from qdrant_edge import CountRequest

from infra.vectors.shard import DESCRIPTION, Description, Shard, close, copy_files, describe, described_in, make, opened
from schemas.errors import Conflict, DependencyUnavailable
from schemas.retrieval import IndexName

UNFINISHED: Final = ".unfinished-"
EMPTY: Final = ".empty-"
"""The beginning of the names of folders that the next start removes, and of those that new shards are copied from."""


class Shards:
    """Opens, creates and removes shards under `root`, from any thread. A shard in use is neither closed nor removed.

    Raises `Conflict` when another process, or another instance of this one, holds `root`.
    """

    def __init__(self, root: Path, *, open_at_most: int = 32) -> None:
        self._root = root
        self._open_at_most = open_at_most
        self._open: OrderedDict[str, Shard] = OrderedDict()
        self._empty: dict[tuple[int | None, bool], Path] = {}
        """The files of an empty shard, to be copied, by the arms that it has."""
        self._in_transit: set[str] = set()
        """Being opened, closed, made or removed by one thread; others wait."""
        self._changed = threading.Condition()
        self._closed = False
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = _lock(root)
        for leftover in (*root.glob(f"{UNFINISHED}*"), *root.glob(f"{EMPTY}*")):
            shutil.rmtree(leftover, ignore_errors=True)

    @contextmanager
    def use(self, name: str) -> Iterator[Shard | None]:
        """The shard, kept open until the block ends; None when there is no shard of this name."""
        shard = self._take(name)
        try:
            yield shard
        finally:
            if shard:
                self._leave(shard)
                self._close_surplus()

    @contextmanager
    def use_open(self, name: str) -> Iterator[Shard | None]:
        """The shard if it is open, for as long as the block runs; None when it would have to be waited for.

        Never blocks.
        """
        self.check()
        with self._changed:
            shard = None if name in self._in_transit else self._open.get(name)
            if shard:
                shard.users += 1
                self._open.move_to_end(name)
        try:
            yield shard
        finally:
            if shard:
                self._leave(shard)

    def create(self, name: str, index: IndexName, *, dimension: int | None, learned: bool) -> None:
        """Create an empty shard unless it exists. It appears whole or not at all, even after a crash."""
        with self._transit(name):
            if self._folder(name).exists():
                return
            folder = self.unfinished()
            like = self._empty.get((dimension, learned))
            described = Description(index.tenant, index.collection, index.generation, dimension, learned, "shard")
            make(folder, described, like)
            if like is None:
                like = self._root / f"{EMPTY}{uuid4().hex}"
                copy_files(folder / described.shard, like)
                self._empty[dimension, learned] = like
            folder.rename(self._folder(name))

    def is_open(self, name: str) -> bool:
        """Whether the shard is open at this moment."""
        return name in self._open

    def unfinished(self) -> Path:
        """A new folder name; the next start removes whatever is still there."""
        return self._root / f"{UNFINISHED}{uuid4().hex}"

    def description(self, name: str) -> Description | None:
        """A shard's description, read without opening the shard; None when it does not exist."""
        with self._changed:
            self._wait_for_turn(name)
            return described_in(self._folder(name)) if self._folder(name).exists() else None

    def names(self) -> list[str]:
        """The names of all shards."""
        return [folder.name for folder in self._root.iterdir() if (folder / DESCRIPTION).exists()]

    def copy(self, name: str, to: Path) -> int | None:
        """Copy a shard's files. Returns how many points they hold, or None when the shard does not exist.

        Nobody may write to the shard meanwhile.
        """
        with self.use(name) as shard:
            if shard is None:
                return None
            shard.engine.flush()
            copy_files(shard.folder, to)
            return shard.engine.count(CountRequest(exact=True))

    def replace(self, name: str, copy: Path, points: int) -> None:
        """Replace a shard with an optimised copy of this many points, atomically, even across a crash."""
        with self._transit(name):
            folder = self._folder(name)
            old = described_in(folder)
            new = replace(old, shard=f"shard-{uuid4().hex}", optimised=points)
            copy.rename(folder / new.shard)
            describe(folder, new)
            shutil.rmtree(folder / old.shard, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Close and delete a shard. A missing shard is not an error."""
        with self._transit(name):
            folder = self._folder(name)
            if folder.exists():
                shutil.rmtree(folder.rename(self.unfinished()))

    def check(self) -> None:
        """Raise `DependencyUnavailable` when closed, or when the folder is gone."""
        if self._closed:
            raise DependencyUnavailable("the embedded vector index is closed")
        if not self._root.is_dir():
            raise DependencyUnavailable(f"the folder of the embedded vector index, {self._root}, is gone")

    def close(self) -> None:
        """Wait for running calls, flush and close every shard, and release the folder to other processes."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.wait_for(lambda: not self._in_transit and not any(s.users for s in self._open.values()))
            for shard in self._open.values():
                close(shard)
            self._open.clear()
        for like in self._empty.values():
            shutil.rmtree(like, ignore_errors=True)
        self._lock_file.close()

    def _folder(self, name: str) -> Path:
        return self._root / name

    def _take(self, name: str) -> Shard | None:
        with self._changed:
            self._wait_for_turn(name)
            shard = self._open.get(name)
            if shard:
                shard.users += 1
                self._open.move_to_end(name)
                return shard
            folder = self._folder(name)
            if not folder.exists():
                return None
            self._in_transit.add(name)
        try:
            shard = opened(folder)
            shard.users = 1
            with self._changed:
                self._open[name] = shard
            return shard
        finally:
            self._arrive(name)

    @contextmanager
    def _transit(self, name: str) -> Iterator[None]:
        """Own the shard's folder until the block ends: wait for its users, close it and keep others out."""
        with self._changed:
            self._wait_for_turn(name)
            self._in_transit.add(name)
            try:
                self._changed.wait_for(lambda: name not in self._open or not self._open[name].users)
            except BaseException:
                self._in_transit.discard(name)
                raise
            shard = self._open.pop(name, None)
        try:
            if shard:
                close(shard)
            yield
        finally:
            self._arrive(name)

    def _wait_for_turn(self, name: str) -> None:
        self._changed.wait_for(lambda: name not in self._in_transit)
        self.check()

    def _arrive(self, name: str) -> None:
        with self._changed:
            self._in_transit.discard(name)
            self._changed.notify_all()

    def _leave(self, shard: Shard) -> None:
        with self._changed:
            shard.users -= 1
            self._changed.notify_all()

    def _close_surplus(self) -> None:
        while (surplus := self._surplus()) is not None:
            name, shard = surplus
            try:
                close(shard)
            finally:
                self._arrive(name)

    def _surplus(self) -> tuple[str, Shard] | None:
        """A shard to be closed, now in transit: of the tenant with the most open ones the least recently used.

        So whoever goes through many collections closes its own, and no search of another tenant has to open one again.
        """
        with self._changed:
            if len(self._open) <= self._open_at_most:
                return None
            held = Counter(shard.description.tenant for shard in self._open.values())
            idle = [name for name, shard in self._open.items() if not shard.users]
            name = max(idle, key=lambda name: held[self._open[name].description.tenant], default=None)
            if name is None:
                return None
            self._in_transit.add(name)
            return name, self._open.pop(name)


def _lock(root: Path) -> IO[str]:
    """Lock `root` for this process; the kernel releases the lock when the process dies."""
    file = (root / ".lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise Conflict(
            f"the embedded vector index in {root} is in use by process {holder}: it serves one process at a time. "
            "Stop that one, choose another folder, or use a Qdrant server (WELIP_INDEX_URL=http://...)"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
