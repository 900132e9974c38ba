"""Rows as dataclasses: a statement takes its columns and their types from the fields, so each is named only once."""

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Annotated, Any, Final, TypeAlias, get_args, get_origin, get_type_hints
from uuid import UUID

Json: TypeAlias = Annotated[str, "json"]
"""A JSON text in a column of type `json`."""
Jsonb: TypeAlias = Annotated[str, "jsonb"]

TYPES: Final[dict[Any, str]] = {UUID: "uuid", str: "text", int: "int", float: "float8", bytes: "bytea"}


def names(row: type, *, but: Sequence[str] = ()) -> tuple[str, ...]:
    """The fields of a row, in order, except those in `but`."""
    return tuple(field.name for field in fields(row) if field.name not in but)


def given(row: type, columns: Sequence[str]) -> str:
    """`unnest($1::uuid[], ...) AS given(id, ...)`: many rows, passed as one array per column."""
    hints = get_type_hints(row, include_extras=True)
    arguments = ", ".join(f"${n}::{_type(hints[name])}[]" for n, name in enumerate(columns, start=1))
    return f"unnest({arguments}) AS given({', '.join(columns)})"


def arguments(rows: Sequence[Any], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The arguments for `given`: for each column, the values of all rows."""
    return list(zip(*map(attrgetter(*columns), rows), strict=True)) if rows else [() for _ in columns]


def _type(hint: Any) -> str:
    """The Postgres type of a field: from its annotation, or from its Python type."""
    if get_origin(hint) is Annotated:
        return str(get_args(hint)[1])
    known = [part for part in get_args(hint) if part is not type(None)]
    return _type(known[0]) if known else TYPES[hint]
