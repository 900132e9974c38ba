"""The errors for a corpus that cannot be read as a whole."""

from collections.abc import Iterable

from schemas.errors import InvalidInput
from schemas.kinds.indexing import MAX_DOCUMENT_CHARS

MAX_ROW_CHARS = MAX_DOCUMENT_CHARS + 1_000_000


def check_columns(columns: list[str], names: Iterable[str]) -> None:
    """Raise `InvalidInput` for a column that is missing (`column_missing`) or present twice (`column_repeated`)."""
    known = list(names)
    for column in columns:
        if column not in known:
            available = ", ".join(repr(name) for name in known[:50])
            why = f"the corpus has no column {column!r}; it has {available}"
            raise InvalidInput(why[:2_000], code="column_missing", field="input.corpus")
        if known.count(column) > 1:
            why = f"the corpus has {known.count(column)} columns {column!r}: give each its own name"
            raise InvalidInput(why, code="column_repeated", field="input.corpus")


def undecodable(encoding: str) -> InvalidInput:
    """The error for a corpus that is not in the encoding that it seems to be in."""
    return InvalidInput(
        f"the corpus is not valid {encoding} throughout; save it as UTF-8 and upload it again",
        code="corpus_undecodable",
        field="input.corpus.file",
    )


def out_of_proportion(why: str) -> InvalidInput:
    """The error for a corpus that unpacks to far more than its own size."""
    return InvalidInput(
        f"the corpus is out of proportion: {why}; split it", code="corpus_bomb", field="input.corpus.file"
    )


def too_large(what: str) -> InvalidInput:
    """The error for a corpus with a record that has no end in sight."""
    return InvalidInput(
        f"{what} of the corpus is longer than {MAX_ROW_CHARS:,} characters; is a quotation mark open?",
        code="record_too_large",
        field="input.corpus.file",
    )


def unreadable(why: str) -> InvalidInput:
    """The error for a corpus that is not a valid table of its format."""
    return InvalidInput(why, code="corpus_unreadable", field="input.corpus.file")
