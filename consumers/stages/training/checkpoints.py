"""Checkpoints of a training in object storage: each is whole or absent, and the one before stays until then.

There are two places, `a` and `b`. A place is a manifest that names the checkpoint's files with their sizes and hashes.
The files are written under a key of their own, then the manifest in place of the older of the two. So a worker that
dies in between, or that lost its job and does not know it yet, leaves a whole checkpoint behind, whatever it wrote.
"""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from consumers.stages.pieces import fetched, pieces
from consumers.stages.ports import Blobs
from schemas.errors import NotFound
from schemas.remarks import Remark

PLACES: Final = ("a", "b")
LEFT_OUT: Final = frozenset({"training_args.bin"})
"""Transformers writes it, and reads it never. It is a pickle."""


class Part(BaseModel):
    """One file of a checkpoint. `name`: relative to the checkpoint's folder."""

    name: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """A checkpoint. `folder`: the key under which its files lie. `seconds`: of training until then, over all tries."""

    step: int
    folder: str
    parts: list[Part]
    seconds: float
    resumes: int
    validation_loss_before: float | None


class Checkpoints:
    """The checkpoints of one job, as one of its tries, `epoch`, sees them. `root`: the job's key for them."""

    def __init__(self, blobs: Blobs, root: str, epoch: int) -> None:
        self._blobs = blobs
        self._root = root
        self._epoch = epoch
        self._places: dict[str, Manifest] = {}

    async def restore(self, into: Path) -> tuple[Manifest | None, list[Remark]]:
        """Fetch the newest whole checkpoint into a folder that does not exist yet; and say which ones were damaged."""
        damaged: list[Remark] = []
        for place in PLACES:
            try:
                self._places[place] = Manifest.model_validate_json(await self._blobs.get(self._manifest(place)))
            except NotFound:
                continue
            except ValidationError:
                damaged.append(Remark(sentence="manifest_damaged"))
        for place, manifest in sorted(self._places.items(), key=lambda one: one[1].step, reverse=True):
            await asyncio.to_thread(into.mkdir)
            if await self._whole(manifest, into):
                return manifest, damaged
            damaged.append(Remark(sentence="checkpoint_damaged", values={"step": manifest.step}))
            del self._places[place]
            await asyncio.to_thread(shutil.rmtree, into)
        return None, damaged

    async def save(self, folder: Path, manifest: Manifest) -> None:
        """Store the files of a folder, and then the manifest that makes them a checkpoint."""
        place = min(PLACES, key=lambda one: self._places[one].step if one in self._places else -1)
        manifest.folder = f"{self._root}/{self._epoch}-{manifest.step}"
        manifest.parts = []
        for path in await asyncio.to_thread(_files, folder):
            name = path.relative_to(folder).as_posix()
            digest = hashlib.sha256()
            size = await self._blobs.put_stream(f"{manifest.folder}/{name}", _digested(path, digest))
            manifest.parts.append(Part(name=name, bytes=size, sha256=digest.hexdigest()))
        await self._blobs.put(
            self._manifest(place), manifest.model_dump_json().encode(), content_type="application/json"
        )
        before = self._places.get(place)
        self._places[place] = manifest
        if before is not None and before.folder != manifest.folder:
            await self._blobs.delete(before.folder)

    def _manifest(self, place: str) -> str:
        return f"{self._root}/{place}.json"

    async def _whole(self, manifest: Manifest, into: Path) -> bool:
        for part in manifest.parts:
            path = into / part.name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                if await fetched(self._blobs, f"{manifest.folder}/{part.name}", path) != part.sha256:
                    return False
            except NotFound:
                return False
        return True


async def _digested(path: Path, digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    async for piece in pieces(path):
        digest.update(piece)
        yield piece


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in LEFT_OUT]
