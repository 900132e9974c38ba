"""What views are made of: a row, whichever driver or test it comes from."""

from typing import Any, Protocol


class Row(Protocol):
    """A row of Postgres, or anything with its columns by name."""

    def __getitem__(self, column: str, /) -> Any:
        """A column's value."""
