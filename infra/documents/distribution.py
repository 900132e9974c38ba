"""Opens distribution HWP files (배포용), whose text is encrypted with a key that the file itself holds.

The flag asks programs not to edit, copy or print. It protects no secret and needs no password. Hancom published how
to read such files ("한글 문서 파일 형식: 배포용 문서", revision 1.2).
"""

import struct
from typing import Final

from Crypto.Cipher import AES
from hwpx.hwp5.cfb import CompoundFile, build_compound_file, read_all_streams

from infra.documents.refusals import refused

FLAG: Final = 1 << 2
"""Marks a distribution file, in the properties of an HWP 5 file header."""

_FLAGS_AT: Final = 36
_DISTRIBUTE_DOC_DATA: Final = 0x10 + 12
_HEAD_BYTES: Final = 256
_KEY_BYTES: Final = 16


def opened(data: bytes) -> bytes:
    """The same file with its text decrypted. Raises `DocumentRefused` (`document_distribution`)."""
    compound = CompoundFile(data)
    streams: dict[str, bytes] = {}
    for path, content in read_all_streams(compound):
        folder, _, name = path.partition("/")
        if folder == "ViewText":
            streams[f"BodyText/{name}"] = _decrypted(content)
        elif folder != "BodyText":
            streams[path] = content
    header = bytearray(streams["FileHeader"])
    (flags,) = struct.unpack_from("<I", header, _FLAGS_AT)
    struct.pack_into("<I", header, _FLAGS_AT, flags & ~FLAG)
    streams["FileHeader"] = bytes(header)
    if not any(path.startswith("BodyText/") for path in streams):
        raise _unreadable("it holds no text for viewing")
    return build_compound_file(streams.items())


def _decrypted(stream: bytes) -> bytes:
    """The section without its first record, which hides the key; the rest is decrypted by AES-128 in ECB mode."""
    if len(stream) < 4 + _HEAD_BYTES:
        raise _unreadable("a section is truncated")
    (record,) = struct.unpack_from("<I", stream)
    if record & 0x3FF != _DISTRIBUTE_DOC_DATA or record >> 20 != _HEAD_BYTES:
        raise _unreadable("a section does not begin with its key")
    body = stream[4 + _HEAD_BYTES :]
    cipher = AES.new(key_of(stream[4 : 4 + _HEAD_BYTES]), AES.MODE_ECB)
    return cipher.decrypt(body[: len(body) // 16 * 16])


def key_of(head: bytes) -> bytes:
    """The key in the 256 bytes of a section's first record; their first four are the seed of the mask that hides it."""
    (seed,) = struct.unpack_from("<I", head)
    mask = hidden(head)
    start = 4 + (seed & 0xF)
    return bytes(mask[start : start + _KEY_BYTES])


def hidden(head: bytes) -> bytes:
    """The 256 bytes with all but the seed masked or unmasked: XOR with runs of Microsoft's `rand()`."""
    (state,) = struct.unpack_from("<I", head)
    shown = bytearray(head)
    left = mask = 0
    for at in range(len(shown)):
        if not left:
            state = (state * 214013 + 2531011) & 0xFFFFFFFF
            mask = (state >> 16) & 0xFF
            state = (state * 214013 + 2531011) & 0xFFFFFFFF
            left = ((state >> 16) & 0xF) + 1
        left -= 1
        if at >= 4:
            shown[at] ^= mask
    return bytes(shown)


def _unreadable(why: str) -> Exception:
    return refused("document_distribution", f"it is a distribution document (배포용) that cannot be opened: {why}")
