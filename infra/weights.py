"""Weights in object storage: a worker fetches them once, before it loads them, into a folder of its machine."""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import structlog

from infra.blobs.open import open_blobs
from infra.engines.warming import TELLS_EVERY_S, Warming
from infra.engines.weights import check
from infra.settings import BlobsSettings, WeightsSettings
from schemas.errors import Conflict, DependencyUnavailable, NotFound
from schemas.models import LocalModel

log = structlog.get_logger(__name__)

UNFINISHED: Final = ".fetching-"


class Stored(Protocol):
    """What fetching needs of object storage."""

    def names(self, prefix: str) -> AsyncIterator[str]:
        """The names directly under `prefix/`, of blobs and of folders."""

    def stream(self, key: str) -> AsyncIterator[bytes]:
        """The bytes under `key`, in pieces. Raises `NotFound` for a folder."""


async def fetched(spec: LocalModel, blobs: BlobsSettings, settings: WeightsSettings) -> LocalModel:
    """The row with its weights in a folder here, if they are in object storage; else the same row.

    The files directly under the prefix are fetched, checked, and kept: what lies under a prefix never changes. Workers
    of one machine may share the folder, and one of them fetches. Raises `Conflict` (`weights_missing`,
    `weights_differ`) and `DependencyUnavailable`.
    """
    if spec.stored is None:
        return spec
    bucket, prefix = spec.stored
    address = _address(spec, blobs, bucket)
    source = hashlib.sha256(f"{address}/{prefix}".encode()).hexdigest()[:32]
    # The last part is the model's name, by which its adapters know it.
    folder = settings.cache / source / prefix.rsplit("/", 1)[-1]
    try:
        settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (settings.cache / f"{source}.lock").open("ab") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                store = open_blobs(blobs.model_copy(update={"url": address}))
                try:
                    await _fetch(spec, store, prefix, settings.cache / f"{UNFINISHED}{source}", folder)
                finally:
                    await store.close()
    except OSError as error:
        raise DependencyUnavailable(f"the folder of weights {settings.cache} does not work: {error}") from error
    return spec.model_copy(update={"weights": str(folder.absolute())})


def _address(spec: LocalModel, blobs: BlobsSettings, bucket: str | None) -> str:
    """The URL of the storage: the deployment's own, or another bucket of the same server."""
    if bucket is None:
        return blobs.url
    own = urlsplit(blobs.url)
    if own.scheme == "file":
        why = f"model {spec.name!r}: weights: {spec.weights} is on an S3 server, and WELIP_BLOBS_URL names a folder"
        raise Conflict(why, code="weights_missing")
    return urlunsplit(own._replace(path=f"/{bucket}"))


async def _fetch(spec: LocalModel, store: Stored, prefix: str, making: Path, folder: Path) -> None:
    """Write everything beside its place, compare it, and move it there: whoever finds the folder finds all of it."""
    told = Warming(spec.name, spec.engine, TELLS_EVERY_S)
    told.waits_for("fetch")
    try:
        shutil.rmtree(making, ignore_errors=True)  # of a worker that was killed
        os.mkdir(making)
        size = 0
        async for name in store.names(prefix):
            size += await _write(store, f"{prefix}/{name}", making / name)
        if not size:
            raise Conflict(f"model {spec.name!r}: weights: no files under {spec.weights}", code="weights_missing")
        await asyncio.to_thread(check, spec, making)
        os.makedirs(folder.parent, exist_ok=True)
        os.rename(making, folder)
    finally:
        told.end()
        shutil.rmtree(making, ignore_errors=True)
    log.info("weights.fetched", model=spec.name, bytes=size, took_s=told.took_s)


async def _write(store: Stored, key: str, path: Path) -> int:
    """Fetch one file; its bytes. A folder is left out."""
    size = 0
    try:
        with path.open("wb") as file:
            async for piece in store.stream(key):
                size += await asyncio.to_thread(file.write, piece)
    except NotFound:
        os.unlink(path)
    return size
