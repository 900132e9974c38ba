"""Receives an upload: its bytes go to object storage as they arrive, and its row is written when all have arrived."""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Final

import asyncpg
import uuid_utils.compat as uuids

from gateway.files.form import Form, Part
from gateway.http.errors import TooLarge
from gateway.http.limits import Room
from gateway.services import Services
from infra.postgres.queries import files, stored
from infra.postgres.queries.files import NewFile
from schemas.errors import InvalidInput
from schemas.files import DEFAULT_PURPOSE, LIFE_S, LONGEST_LIFE_S, PURPOSES, SHORTEST_LIFE_S
from schemas.names import printable
from schemas.normalisation import nfc

MAX_NAME_CHARS: Final = 255


async def receive(services: Services, tenant: str, form: Form) -> asyncpg.Record:
    """The row of the file that a form brings. Nothing remains of a file that is refused or interrupted.

    Raises `InvalidInput`, `TooLarge`, `StorageFull` and `DependencyUnavailable`.
    """
    part = await form.file()
    filename = _file_name(part.filename or "")
    _purpose(form.fields)  # if it came first, an invalid one need not wait for the bytes
    file_id = uuids.uuid7()
    blob = f"{tenant}/files/{file_id.hex}"
    async with services.limits.room(tenant) as room:
        async with services.database.connection() as connection:
            await files.expect(connection, blob)
        try:
            content = _Content(form, services.settings.max_file_bytes, room)
            size = await services.blobs.put_stream(blob, content.pieces(), content_type=part.content_type)
            await form.rest()
            purpose = _purpose(form.fields)
            new = NewFile(
                id=file_id,
                tenant=tenant,
                filename=filename,
                purpose=purpose,
                content_type=part.content_type,
                bytes=size,
                sha256=content.digest.hexdigest(),
                blob=blob,
                lives_s=_life_s(form.fields, purpose),
            )
            row = await _record(services, new, part)
        except BaseException:
            await services.blobs.delete(blob)
            raise
        room.keep()
    return row


async def _record(services: Services, new: NewFile, part: Part) -> asyncpg.Record:
    limit = services.limits.file_bytes
    async with services.database.unit_of_work() as connection:
        # Other gateways receive uploads of this tenant too: here they take turns, so the sum is exact.
        if limit and not await stored.fits(connection, new.tenant, new.bytes, limit):
            raise services.limits.storage_full()
        row = await files.add_expected(connection, new)
    if row is None:
        raise InvalidInput("the upload took longer than a day: send it again", code="upload_too_slow", field=part.name)
    return row


class _Content:
    """The bytes of a form's file, counted, limited and hashed as they pass."""

    def __init__(self, form: Form, limit: int, room: Room) -> None:
        self.digest = hashlib.sha256()
        self._form = form
        self._limit = limit
        self._room = room

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises `TooLarge`, `StorageFull`, and `InvalidInput` when the form breaks off."""
        size = 0
        async for piece in self._form.content():
            size += len(piece)
            if size > self._limit:
                raise TooLarge(f"the file is larger than {self._limit} bytes; split it", field="file")
            self._room.take(len(piece))
            self.digest.update(piece)
            yield piece


def _purpose(fields: Mapping[str, str]) -> str:
    purpose = fields.get("purpose", "").strip() or DEFAULT_PURPOSE
    if purpose not in PURPOSES:
        raise InvalidInput(f"a file is for one of {', '.join(PURPOSES)}", field="purpose")
    return purpose


def _life_s(fields: Mapping[str, str], purpose: str) -> int | None:
    """The file's lifetime in seconds; None: unlimited. OpenAI's `expires_after`, as forms write an object's members."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return LIFE_S.get(purpose)
    if anchor != "created_at":
        raise InvalidInput("files can only expire after `created_at`", field="expires_after[anchor]")
    if (
        seconds is None
        or not re.fullmatch("[0-9]{1,9}", seconds)
        or not SHORTEST_LIFE_S <= int(seconds) <= LONGEST_LIFE_S
    ):
        raise InvalidInput(f"{SHORTEST_LIFE_S} to {LONGEST_LIFE_S} seconds", field="expires_after[seconds]")
    return int(seconds)


def _file_name(given: str) -> str:
    """The last part of the client's name for the file; it is never used as a path."""
    name = nfc(given.replace("\\", "/").rsplit("/", 1)[-1].strip())
    try:
        if 0 < len(name) <= MAX_NAME_CHARS:
            return printable(name)
    except ValueError:
        pass
    raise InvalidInput(f"a file name has 1 to {MAX_NAME_CHARS} printable characters", field="file")
