"""Checks ZIP archives and Compound Files before they are unpacked, and stops bombs and locked documents."""

import zlib
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import olefile

from infra.documents.refusals import refused

MAX_MEMBERS: Final = 10_000
MAX_BYTES: Final = 1024**3
MAX_TEXT_BYTES: Final = 200 * 1024**2
"""Limit for markup alone, which is read into memory."""

MAX_RATIO: Final = 150
SMALL_BYTES: Final = 50 * 1024**2
"""Up to this unpacked size any compression ratio is fine: empty tables compress a thousandfold."""

_PIECE: Final = 1024**2
_COMPRESSED: Final = 1 << 0
_LOCKED: Final = 1 << 1 | 1 << 4 | 1 << 8 | 1 << 10
"""Bits of an HWP 5 file header: password, DRM, encrypted with a certificate, DRM by certificate."""


def check_archive(path: Path) -> None:
    """Raise `DocumentRefused` for an archive that is a bomb (`document_bomb`) or locked (`document_encrypted`)."""
    with ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise refused("document_bomb", f"the document is an archive of {len(members):,} members")
        _check_sizes(sum(m.file_size for m in members), sum(m.compress_size for m in members))
        markup = [m for m in members if m.filename.lower().endswith((".xml", ".rels", ".hpf"))]
        _check_sizes(sum(m.file_size for m in markup), sum(m.compress_size for m in markup), MAX_TEXT_BYTES)
        manifest = next((m for m in members if m.filename == "META-INF/manifest.xml"), None)
        # OWPML (KS X 6101) keeps ODF's manifest, which says when a member is encrypted.
        locked = manifest is not None and b"encryption-data" in archive.open(manifest).read(_PIECE)
        if locked or any(m.flag_bits & 1 for m in members):
            raise refused("document_encrypted", "the document is protected by a password")


def check_hwp(path: Path) -> None:
    """Raise `DocumentRefused` like `check_archive`, for an HWP 5 file; its streams are compressed one by one."""
    with olefile.OleFileIO(path) as storage:
        header = storage.openstream("FileHeader").read(40)
        if not header.startswith(b"HWP Document File") or len(header) < 40:
            raise refused("document_damaged", "the HWP file has no valid header")
        flags = int.from_bytes(header[36:40], "little")
        if flags & _LOCKED:
            raise refused("document_encrypted", "the document is protected by a password or a rights manager")
        if flags & _COMPRESSED:
            inflated = packed = 0
            for name in storage.listdir():
                if name[0] in {"DocInfo", "BodyText", "BinData", "ViewText"}:
                    data = storage.openstream(name).read()
                    packed += len(data)
                    inflated += _inflated(data, MAX_BYTES - inflated)
                    _check_sizes(inflated, packed)


def _inflated(data: bytes, enough: int) -> int:
    """How many bytes raw deflate unpacks from `data`; stops soon after `enough`, or where the data is invalid."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    try:
        while data and total <= enough and not inflater.eof:
            total += len(inflater.decompress(data, _PIECE))
            data = inflater.unconsumed_tail
    except zlib.error:
        return total
    return total


def _check_sizes(inflated: int, packed: int, most: int = MAX_BYTES) -> None:
    if inflated > most or (inflated > SMALL_BYTES and inflated > MAX_RATIO * max(packed, 1)):
        raise refused("document_bomb", f"its {packed:,} bytes unpack to {inflated:,} or more")
