"""Reads a dataset of an evaluation, a table of questions, row by row: JSON Lines, CSV, TSV or Parquet."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final, Literal

from pydantic import ValidationError

from infra.corpora.parquet import parquet_records
from infra.corpora.tables import text_records
from schemas.errors import InvalidInput
from schemas.kinds.evaluation.items import Dataset, Item, ItemProblem

_WORDS: Final[Mapping[str, bool]] = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


class _WrongCell(ValueError):
    """A cell is not what its column must hold."""


def read_items(file: IO[bytes], dataset: Dataset, format: str) -> Iterator[Item | ItemProblem]:
    """Each row as an item, or what is wrong with it: `row_invalid`, `id_repeated`. Blocking.

    Rows are numbered from 1 below the header; blank lines do not count. Raises `InvalidInput` as the readers of corpora
    do, in the words of a dataset: `column_missing`, `dataset_unreadable`, `dataset_undecodable` and so on.
    """
    required, optional = dataset.required(), dataset.optional()
    seen: dict[int, int] = {}
    try:
        records = (
            parquet_records(file, required, [*optional, "metadata"])
            if format == "parquet"
            else text_records(file, format, required, optional)
        )
        for number, row in enumerate(records, start=1):
            found = _item(row, number, dataset, format)
            if isinstance(found, Item):
                # Hashes instead of ids, so that many of them stay small.
                first = seen.setdefault(hash(found.id), number)
                if first != number:
                    yield _problem(number, f"it repeats the id {found.id!r} of row {first}", "id_repeated")
                    continue
            yield found
    except InvalidInput as error:
        field = "input.dataset.file" if (error.field or "").endswith(".file") else "input.dataset"
        code = error.reason.replace("corpus", "dataset")
        raise InvalidInput(error.message.replace("the corpus", "the dataset"), code=code, field=field) from error


def _item(row: Mapping[str, Any] | str, number: int, dataset: Dataset, format: str) -> Item | ItemProblem:
    if isinstance(row, str):
        return _problem(number, row)
    try:
        return Item(
            id=_id(row.get(dataset.id or "id"), number),
            row=number,
            question=_text(row.get(dataset.question), dataset.question),
            references=_references(row.get(dataset.reference or "reference"), dataset.reference or "reference"),
            relevant=_relevant(row.get(dataset.relevant or "relevant"), dataset.relevant or "relevant"),
            answerable=_answerable(row.get(dataset.answerable or "answerable")),
            document=_name(row.get(dataset.document or "document")),
            metadata=_metadata(row, dataset, format),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return _problem(number, f"its {first['loc'][0]}: {first['msg']}")
    except _WrongCell as error:
        return _problem(number, str(error))


def _id(cell: Any, number: int) -> str:
    if cell is None or cell == "":
        return str(number)
    if isinstance(cell, bool) or not isinstance(cell, str | int):
        raise _WrongCell("its id is neither a text nor a whole number")
    return str(cell)


def _text(cell: Any, column: str) -> str:
    if isinstance(cell, str):
        _encodable(cell, column)
        return cell
    if cell is None:
        raise _WrongCell(f"its {column!r} is missing")
    raise _WrongCell(f"its {column!r} is {_shape(cell)}, not a text")


def _references(cell: Any, column: str) -> list[str]:
    """A text, or several in a list; none for a null, an empty text or an empty list."""
    cells = cell if isinstance(cell, list) else [cell]
    return [text for one in cells if one is not None and (text := _text(one, column).strip())]


def _relevant(cell: Any, column: str) -> list[str]:
    """An id, a list of ids, or a JSON list in a cell of text."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            cell = json.loads(cell)
        except ValueError as error:
            raise _WrongCell(f"its {column!r} begins like a JSON list and is none") from error
    ids = cell if isinstance(cell, list) else [cell]
    if any(isinstance(one, bool) or not isinstance(one, str | int | None) for one in ids):
        raise _WrongCell(f"its {column!r} holds something that is no document's id")
    return list(dict.fromkeys(text for one in ids if one is not None and (text := str(one).strip())))


def _answerable(cell: Any) -> bool:
    if cell is None or cell == "":
        return True
    if isinstance(cell, bool):
        return cell
    try:
        return _WORDS[str(cell).strip().lower()]
    except KeyError:
        raise _WrongCell("its answerable is neither true nor false") from None


def _name(cell: Any) -> str | None:
    return None if cell is None or cell == "" else str(cell)[:200]


def _metadata(row: Mapping[str, Any], dataset: Dataset, format: str) -> dict[str, Any]:
    named = {column: row.get(column) for column in dataset.metadata}
    whole = row.get("metadata") if format in ("jsonl", "parquet") and not dataset.metadata else None
    if isinstance(whole, Mapping):
        named |= whole
    found = {str(name): value for name, value in named.items() if value is not None}
    if not all(isinstance(value, str | bool | int | float) for value in found.values()):
        raise _WrongCell("its metadata holds more than texts, numbers and booleans")
    if any(isinstance(value, float) and not math.isfinite(value) for value in found.values()):
        raise _WrongCell("its metadata holds a number that is not finite")
    return found


def _encodable(text: str, column: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _WrongCell(f"its {column!r} contains invalid bytes") from None


def _shape(cell: Any) -> str:
    match cell:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case list():
            return "a list"
    return "an object"


def _problem(row: int, why: str, code: Literal["row_invalid", "id_repeated"] = "row_invalid") -> ItemProblem:
    return ItemProblem(row=row, code=code, message=f"row {row}: {why}"[:500])
