"""Tokenised examples in object storage: what one try has tokenised, neither the next one nor another training of the
tenant tokenises again.

The key says which examples they are, of which base model, and what was asked for. Whether they fit the tokenizer that
the process then loads, the process itself decides: a file that does not fit is made again and replaced.
"""

import asyncio
import hashlib
import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from consumers.stages.pieces import fetched, pieces
from consumers.stages.ports import Blobs, Expiry
from consumers.stages.training.trainable import Base
from schemas.errors import DependencyUnavailable, NotFound, StorageFull
from schemas.kinds.training import TrainingInput

KEPT: Final = timedelta(days=7)
"""After it was used last."""


class TokenisedExamples:
    """The file for one dataset. `shas`: the sha256 of the examples that are trained on, and of those held out."""

    def __init__(
        self,
        blobs: Blobs,
        expiry: Expiry,
        tenant: str,
        request: TrainingInput,
        base: Base,
        shas: tuple[str, str | None],
    ) -> None:
        how = request.hyperparameters
        settings = [request.method, how.max_length, how.completion_only]
        if request.method == "kto":  # its trainer pairs examples that are together on a device
            settings += [how.batch_size, how.device_batch_size]
        said = json.dumps([shas, base.weights, base.revision, settings])
        self._key = f"{tenant}/tokenised/{hashlib.sha256(said.encode()).hexdigest()}.zip"
        self._blobs = blobs
        self._expiry = expiry

    async def fetch(self, into: Path) -> Path | None:
        """Fetch the file, which then is kept for longer; None where there is none."""
        try:
            await fetched(self._blobs, self._key, into)
        except NotFound:
            await asyncio.to_thread(into.unlink, missing_ok=True)
            return None
        await self._expiry.expire(self._key, KEPT)
        return into

    async def keep(self, file: Path) -> None:
        """Store the file. A tenant without room for it, or storage that is away, only costs the next one time."""
        with suppress(DependencyUnavailable, StorageFull):
            await self._expiry.expire(self._key, KEPT)
            await self._blobs.put_stream(self._key, pieces(file), content_type="application/zip")
