"""The input of views: a row from any driver or test."""

from typing import Any, Protocol


class Row(Protocol):
    """A row of Postgres, or anything with its columns by name."""

    def __getitem__(self, column: str, /) -> Any:
        """A column's value."""
