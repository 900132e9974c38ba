"""Reads the files of Hangul into text: HWPX (KS X 6101) directly, HWP 5 after `python-hwpx` converts it to HWPX."""

import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from lxml.etree import XMLSyntaxError

from infra.documents.containers import check_archive, check_hwp
from infra.documents.draft import Draft
from infra.documents.owpml import Owpml
from infra.documents.refusals import refused
from schemas.errors import DocumentRefused
from schemas.retrieval import ParsedDocument

_WITH_TEXT: Final = ("control-", "form-", "inline-", "equation-")
"""How python-hwpx begins the names of such parts. What else it names is layout."""


def read_hwp(path: Path, max_chars: int) -> ParsedDocument:
    """The document of an HWP 5 file. Raises `DocumentRefused`, with `document_damaged` among its codes."""
    check_hwp(path)
    # Each library is imported with the first file that needs it.
    from hwpx.hwp5.package import convert

    from infra.documents.distribution import FLAG, opened

    data = path.read_bytes()
    try:
        if _flags(path) & FLAG:
            data = opened(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = convert(data)
        return _read(converted.files, max_chars, _lost(converted.report.unconverted))
    except DocumentRefused:
        raise
    except Exception:  # noqa: BLE001 - a record that one engine cannot place, the other may do without
        from infra.documents.hangul_engine import read_engine

        return read_engine(data, max_chars)


def read_hwpx(path: Path, max_chars: int) -> ParsedDocument:
    """The document of an HWPX file. Raises `DocumentRefused`, with `document_damaged` among its codes."""
    check_archive(path)
    with ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name.lower().startswith("contents/")}
    try:
        return _read(parts, max_chars)
    except (XMLSyntaxError, KeyError) as error:
        raise refused("document_damaged", f"the document cannot be read: {error}") from error


def _read(parts: dict[str, bytes], max_chars: int, lost: Iterable[str] = ()) -> ParsedDocument:
    draft = Draft(max_chars)
    draft.lost += lost
    Owpml(parts).add_to(draft)
    # The title in the summary information is not used: it is often that of the form that the document was copied from.
    return draft.finished()


def _lost(unconverted: Mapping[str, int]) -> list[str]:
    """What python-hwpx could not convert of what may hold text, with how often, such as `control-eqed (2)`."""
    return [f"{kind} ({count})" for kind, count in sorted(unconverted.items()) if kind.startswith(_WITH_TEXT)]


def _flags(path: Path) -> int:
    import olefile

    with olefile.OleFileIO(path) as storage:
        return int(struct.unpack_from("<I", storage.openstream("FileHeader").read(40), 36)[0])
