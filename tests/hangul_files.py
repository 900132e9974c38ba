"""Hangul files that `python-hwpx` does not write by itself: with any markup, or for distribution (배포용)."""

import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

from Crypto.Cipher import AES
from hwpx import HwpxDocument
from hwpx.hwp5.cfb import CompoundFile, build_compound_file, read_all_streams

from infra.documents.distribution import FLAG, hidden, key_of


def write_hwpx(path: Path, body: str, numberings: str = "", properties: str = "") -> None:
    """Write a document whose section ends with `body`, OWPML paragraphs; with more lists and paragraph properties."""
    made = BytesIO()
    HwpxDocument.new().save_to_stream(made)
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            data = source.read(member).decode() if member.filename.endswith(".xml") else source.read(member)
            if isinstance(data, str):
                if member.filename == "Contents/section0.xml":
                    data = data.replace("</hs:sec>", f"{body}</hs:sec>")
                if member.filename == "Contents/header.xml":
                    data = data.replace("</hh:numberings>", f"{numberings}</hh:numberings>")
                    data = data.replace("</hh:paraProperties>", f"{properties}</hh:paraProperties>")
            target.writestr(member, data)


def with_unknown_control(data: bytes) -> bytes:
    """The HWP file with its tables turned into controls that no reader knows."""
    streams = dict(read_all_streams(CompoundFile(data)))
    packed = struct.unpack_from("<I", streams["FileHeader"], 36)[0] & 1
    for path in [path for path in streams if path.startswith("BodyText/")]:
        section = zlib.decompress(streams[path], -15) if packed else streams[path]
        section = section.replace(b" lbt", b"zzzz")
        streams[path] = zlib.compress(section)[2:-4] if packed else section
    return build_compound_file(streams.items())


def distributed(data: bytes, *, tag: int = 0x10 + 12) -> bytes:
    """The HWP file as Hangul saves it for distribution: sections encrypted with a key hidden in their first record."""
    streams = dict(read_all_streams(CompoundFile(data)))
    header = bytearray(streams["FileHeader"])
    struct.pack_into("<I", header, 36, struct.unpack_from("<I", header, 36)[0] | FLAG)
    streams["FileHeader"] = bytes(header)
    for path in [path for path in streams if path.startswith("BodyText/")]:
        head = hidden(struct.pack("<I", 20260105) + bytes(range(252)))
        section = streams[path].ljust((len(streams[path]) + 15) // 16 * 16, b"\0")
        encrypted = AES.new(key_of(head), AES.MODE_ECB).encrypt(section)
        streams[path.replace("BodyText", "ViewText")] = struct.pack("<I", tag | 256 << 20) + head + encrypted
        streams[path] = b"\0" * 16
    return build_compound_file(streams.items())
