"""Stores the parts of an upload, and puts them together."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import uuid_utils.compat as uuids

from gateway.files.form import Form
from gateway.http.errors import TooLarge
from gateway.services import Services
from infra.postgres.queries import files, stored, uploads
from infra.postgres.queries.files import NewFile
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.ids import shown
from schemas.uploads import MOST_PARTS, PART_BYTES


async def upload_of(services: Services, upload_id: UUID, tenant: str) -> asyncpg.Record:
    """An upload of the tenant. Raises `NotFound`."""
    async with services.database.connection() as connection:
        row = await uploads.upload(connection, upload_id, tenant)
    if row is None:
        raise NotFound(f"there is no upload {shown('upload', upload_id)}", code="upload_not_found", field="id")
    return row


async def store_part(services: Services, tenant: str, upload: asyncpg.Record, form: Form) -> asyncpg.Record:
    """The row of the part that a form brings. Nothing remains of one that is refused or interrupted.

    Raises `Conflict`, `InvalidInput`, `TooLarge` and `StorageFull`.
    """
    _require_open(upload)
    await form.file()
    async with services.database.connection() as connection:
        count, before = await uploads.size(connection, upload["id"])
    if count >= MOST_PARTS:
        raise InvalidInput(f"an upload has at most {MOST_PARTS:,} parts", field="data")
    part_id = uuids.uuid7()
    blob = f"{tenant}/uploads/{upload['id'].hex}/{part_id.hex}"
    async with services.limits.room(tenant) as room:
        async with services.database.connection() as connection:
            await files.expect(connection, blob)
        try:
            size = 0

            async def pieces() -> AsyncIterator[bytes]:
                nonlocal size
                async for piece in form.content():
                    size += len(piece)
                    if size > PART_BYTES:
                        raise TooLarge(f"a part has at most {PART_BYTES} bytes", field="data")
                    if before + size > upload["bytes"]:
                        why = f"the parts have more than the {upload['bytes']} bytes announced"
                        raise InvalidInput(why, code="upload_exceeded", field="data")
                    room.take(len(piece))
                    yield piece

            await services.blobs.put_stream(blob, pieces())
            await form.rest()
            row = await _record(services, tenant, upload["id"], part_id, size, blob)
        except BaseException:
            await services.blobs.delete(blob)
            raise
        room.keep()
    return row


async def _record(
    services: Services, tenant: str, upload_id: UUID, part_id: UUID, size: int, blob: str
) -> asyncpg.Record:
    limit = services.limits.file_bytes
    async with services.database.unit_of_work() as connection:
        # Its bytes count until the part is deleted; its note as garbage gives them back.
        if limit and await stored.reserve(connection, tenant, blob, size, size, limit) is None:
            raise services.limits.storage_full()
        row = await uploads.add_part(connection, part_id, upload_id, size, blob)
        if row is None:
            raise _closed()
    return row


async def put_together(
    services: Services, tenant: str, upload: asyncpg.Record, part_ids: Sequence[UUID], md5: str | None
) -> tuple[asyncpg.Record, asyncpg.Record]:
    """The upload and the file that its parts make, in the order given.

    Raises `Conflict`, and `InvalidInput` for parts that are not the upload's, that do not add up to the bytes that were
    announced, or whose MD5 is another.
    """
    _require_open(upload)
    parts = await _in_order(services, upload, part_ids)
    file_id = uuids.uuid7()
    blob = f"{tenant}/files/{file_id.hex}"
    async with services.database.connection() as connection:
        await files.expect(connection, blob)
    try:
        sha256, given = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

        async def pieces() -> AsyncIterator[bytes]:
            for part in parts:
                async for piece in services.blobs.stream(part["blob"]):
                    sha256.update(piece)
                    given.update(piece)
                    yield piece

        size = await services.blobs.put_stream(blob, pieces(), content_type=upload["content_type"])
        if md5 is not None and given.hexdigest() != md5.lower():
            raise InvalidInput(f"the MD5 of the parts is {given.hexdigest()}", code="md5_mismatch", field="md5")
        new = NewFile(
            id=file_id,
            tenant=tenant,
            filename=upload["filename"],
            purpose=upload["purpose"],
            content_type=upload["content_type"],
            bytes=size,
            sha256=sha256.hexdigest(),
            blob=blob,
            lives_s=upload["lives_s"],
        )
        return await _complete(services, upload["id"], new)
    except BaseException:
        await services.blobs.delete(blob)
        raise


async def _complete(services: Services, upload_id: UUID, new: NewFile) -> tuple[asyncpg.Record, asyncpg.Record]:
    limit = services.limits.file_bytes
    async with services.database.unit_of_work() as connection:
        ended = await uploads.end(connection, upload_id, "completed", new.id)
        if ended is None:
            raise _closed()
        if limit:
            # The parts are garbage now, so the file takes their room.
            await stored.forget(connection, await uploads.blobs(connection, upload_id))
            if not await stored.fits(connection, new.tenant, new.bytes, limit):
                raise services.limits.storage_full()
        file = await files.add_expected(connection, new)
        if file is None:
            raise Conflict("putting the parts together took longer than a day", code="upload_too_slow")
    return ended, file


async def _in_order(services: Services, upload: asyncpg.Record, ids: Sequence[UUID]) -> list[Any]:
    async with services.database.connection() as connection:
        found = await uploads.parts(connection, upload["id"], ids)
    for at, part_id in enumerate(ids):
        if part_id not in found:
            raise InvalidInput(
                f"{shown('part', part_id)} is no part of this upload", code="part_not_found", field=f"part_ids[{at}]"
            )
    if len(found) != len(ids):
        raise InvalidInput("a part is named twice", field="part_ids")
    total = sum(found[part_id]["bytes"] for part_id in ids)
    if total != upload["bytes"]:
        why = f"the parts have {total} bytes, {upload['bytes']} were announced"
        raise InvalidInput(why, code="upload_incomplete", field="part_ids")
    return [found[part_id] for part_id in ids]


def _require_open(upload: asyncpg.Record) -> None:
    if upload["status"] != "pending":
        raise Conflict(
            f"the upload is {upload['status']}: begin another", code=f"upload_{upload['status']}", field="id"
        )


def _closed() -> Conflict:
    return Conflict("the upload was completed, cancelled or expired meanwhile", code="upload_closed", field="id")
