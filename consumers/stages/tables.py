"""Uploaded tables, as stages that read datasets need them: of a known format, and on this machine's disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Final

from consumers.stages.ports import Ports
from schemas.errors import InvalidInput, NotFound

FORMATS: Final = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
SHOWN: Final = 10
"""Problems of a dataset that an error names."""


@dataclass(frozen=True, slots=True)
class Table:
    """A dataset on disk; `size` in bytes, `sha256` of its bytes."""

    path: Path
    format: str
    size: int
    sha256: str


@asynccontextmanager
async def opened(
    ports: Ports, file_id: str, format: str | None, *, most: int, field: str, format_field: str
) -> AsyncIterator[Table]:
    """The file, copied to disk while the block runs: readers of tables are synchronous, and it may exceed memory.

    `format`: None means that its name says it. `most`: bytes that it may have. `field`, `format_field`: of the input,
    for errors. Raises `NotFound` (`file_not_found`) and `InvalidInput` (`dataset_too_large`, `dataset_format_unknown`).
    """
    try:
        stored = await ports.files.find(file_id)
    except NotFound as error:
        why = f"there is no file {file_id!r}; upload the dataset with POST /v1/files and name the id it gives"
        raise NotFound(why, code="file_not_found", field=field) from error
    if stored.size > most:
        why = f"the dataset has {stored.size:,} bytes, {most:,} are allowed: split it"
        raise InvalidInput(why, code="dataset_too_large", field=field)
    table = format or FORMATS.get(PurePosixPath(stored.filename).suffix.lower())
    if table is None:
        why = f"the name {stored.filename!r} does not tell the format: give `format`, one of jsonl, csv, tsv, parquet"
        raise InvalidInput(why, code="dataset_format_unknown", field=format_field)
    digest = hashlib.sha256()
    with NamedTemporaryFile() as file:

        def take(piece: bytes) -> None:
            file.write(piece)
            digest.update(piece)

        async for piece in ports.blobs.stream(stored.blob):
            await asyncio.to_thread(take, piece)
        file.flush()
        yield Table(Path(file.name), table, stored.size, digest.hexdigest())


def unusable(messages: Sequence[str], count: int, *, field: str) -> InvalidInput:
    """The error for a dataset with `count` wrong rows; it names the first ones."""
    rows = f"{count:,} rows are" if count > 1 else "one row is"
    more = "; ..." if count > SHOWN else ""
    return InvalidInput(f"{rows} not usable: {'; '.join(messages[:SHOWN])}{more}", code="dataset_invalid", field=field)


def fingerprint(data: bytes) -> int:
    """64 bits that tell rows apart: millions of them stay small in memory."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
