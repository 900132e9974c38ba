"""What a process that reads tables does: opens one corpus or dataset and returns its rows batch by batch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from infra.corpora.examples import read_examples
from infra.corpora.forms import form_of
from infra.corpora.items import read_items
from infra.corpora.rows import Row, read_rows
from infra.isolation.child import Task
from infra.isolation.frames import Frame
from schemas.kinds.evaluation.items import Dataset, Item, ItemProblem
from schemas.kinds.indexing import Corpus
from schemas.kinds.indexing.parts import PartDocument
from schemas.kinds.training.examples import Example, ExampleProblem

ROWS_AT_ONCE: Final = 500
CHARS_AT_ONCE: Final = 1_000_000
"""A batch ends with the row that brings it to this size."""


def tasks() -> Mapping[str, Task]:
    """The tasks by name: `open` a table of one purpose, then `next` batch of rows until none is left; or its `form`."""
    reader = _Reader()
    return {
        "open": reader.open,
        "open_dataset": reader.open_dataset,
        "open_examples": reader.open_examples,
        "form": _form,
        "next": reader.next,
    }


def _form(request: dict[str, Any], _: bytes) -> Frame:
    with Path(request["path"]).open("rb") as file:
        return {"form": form_of(file, Dataset(**request["dataset"]), request["format"])}, b""


class _Reader:
    def open(self, request: dict[str, Any], _: bytes) -> Frame:
        self._file = Path(request["path"]).open("rb")  # noqa: SIM115 - it ends with the process
        self._rows: Iterator[Row | Item | ItemProblem | Example | ExampleProblem] = read_rows(
            self._file, Corpus(**request["corpus"])
        )
        return {}, b""

    def open_dataset(self, request: dict[str, Any], _: bytes) -> Frame:
        self._file = Path(request["path"]).open("rb")  # noqa: SIM115 - it ends with the process
        self._rows = read_items(self._file, Dataset(**request["dataset"]), request["format"])
        return {}, b""

    def open_examples(self, request: dict[str, Any], _: bytes) -> Frame:
        self._file = Path(request["path"]).open("rb")  # noqa: SIM115 - it ends with the process
        self._rows = read_examples(self._file, request["method"], request["format"])
        return {}, b""

    def next(self, request: dict[str, Any], _: bytes) -> Frame:
        lines: list[bytes] = []
        accepted: list[bool] = []
        documents: list[tuple[str, int]] = []
        chars = 0
        for row in self._rows:
            lines.append(row.model_dump_json().encode())
            accepted.append(isinstance(row, PartDocument | Item | Example))
            if isinstance(row, PartDocument):
                documents.append((row.id, len(row.text or "")))
            chars += len(lines[-1])
            if len(lines) == ROWS_AT_ONCE or chars >= CHARS_AT_ONCE:
                break
        return {"accepted": accepted, "documents": documents, "read": self._file.tell()}, b"\n".join(lines)
