"""The second engine for HWP 5, `hangulang`: reads files that the first cannot, but without automatic numbers."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from infra.documents.draft import Cell, Draft, table_text
from infra.documents.refusals import refused
from schemas.retrieval import ParsedDocument

_SKIPPED: Final = frozenset({"page_header", "page_footer", "picture", "page_break", "thread_start"})
_NOTE: Final = re.compile(r"^\[\^\d+\]\s*")

Block = Mapping[str, Any]


def read_engine(data: bytes, max_chars: int) -> ParsedDocument:
    """The document in an HWP 5 file's bytes. Raises `DocumentRefused`, with `document_damaged` among its codes."""
    try:
        # Imported here, not above: the package has no build for some platforms.
        from hangulang import AssetPolicy, ConversionOptions, HangulangError, convert_to_payload
    except ImportError as error:
        raise refused("document_damaged", "the HWP document cannot be read") from error
    try:
        payload = convert_to_payload(data, ConversionOptions(asset_policy=AssetPolicy.REFERENCE))
    except HangulangError as error:
        raise refused("document_damaged", f"the document cannot be read: {error}") from error
    draft = Draft(max_chars)
    draft.lost.append("automatic numbers")
    for section in payload["sections"]:
        _add(section["blocks"], draft)
    # The title in the summary information is not used: it is often that of the form that the document was copied from.
    return draft.finished()


def _add(blocks: Iterable[Block], draft: Draft) -> None:
    for block in blocks:
        kind = block["kind"]
        if kind in _SKIPPED:
            continue
        if kind == "heading":
            draft.add(block["text"] or "", level=block["level"] or 1)
        elif kind == "list":
            for number, item in enumerate(_items(block)):
                draft.add(item, gap="\n" if number else "\n\n")
        elif kind == "table":
            _add_table(block["table"], draft)
        elif kind == "footnote":
            draft.add(_NOTE.sub("", block["text"] or ""))
        elif block["children"]:
            _add(block["children"], draft)
        else:
            draft.add(block["text"] or "")


def _add_table(table: Mapping[str, Any], draft: Draft) -> None:
    if table["caption"]:
        draft.add(table["caption"])
    cells = table["cells"]
    # A frame around text, common in Korean forms, is not a table.
    if len(cells) == 1:
        _add(cells[0]["blocks"], draft)
    else:
        draft.add(table_text(_cells(cells)), gap="\n" if table["caption"] else "\n\n")


def _cells(cells: Iterable[Mapping[str, Any]]) -> Iterator[Cell]:
    for cell in cells:
        yield Cell(cell["row"], cell["col"], _flat(cell["blocks"]), max(1, cell["row_span"]))


def _flat(blocks: Iterable[Block]) -> str:
    """A cell's content on one line; the rows of a nested table are joined by ` / `."""
    pieces: list[str] = []
    for block in blocks:
        if block["kind"] in _SKIPPED:
            continue
        if block["kind"] == "table":
            pieces.append(" / ".join(table_text(_cells(block["table"]["cells"])).split("\n")))
        elif block["kind"] == "list":
            pieces += _items(block)
        else:
            pieces.append(_NOTE.sub("", block["text"] or ""))
    return " ".join(pieces)


def _items(block: Block) -> Iterator[str]:
    for item in block["items"]:
        yield f"- {_flat(item['blocks'])}"
