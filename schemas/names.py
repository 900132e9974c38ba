"""Names and texts that more than one schema uses, each with its rule."""

from typing import Annotated, Any
from unicodedata import category

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from schemas.normalisation import nfc

COLLECTION_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def no_control_characters(value: str) -> str:
    """The value. Raises `ValueError` when it holds a character that nobody sees."""
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError("must not hold control characters")
    return value


def printable(value: str) -> str:
    """The value. Raises `ValueError` when it holds what would break a line, reorder it or is no character.

    Not `str.isprintable`, which knows no blank but the ASCII one, no joiner of emoji, and no character that is newer
    than this Python.
    """
    for character in value:
        code = ord(character)
        if category(character) in ("Cc", "Cs", "Zl", "Zp") or code in _REORDERING or code & 0xFFFE == 0xFFFE:
            raise ValueError("must hold printable characters only")
    return value


_REORDERING = frozenset([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
"""Bidirectional embeddings, overrides and isolates: with them a name looks like another."""


def _composed(value: Any) -> Any:
    return nfc(value) if isinstance(value, str) else value


Composed = BeforeValidator(_composed)
"""In Unicode form NFC: macOS spells Korean in another form than all others, and looks the same.

Stands after the constraints of a string: pydantic would check a length before it strips, were there a function between.
"""


def no_dot_segment(value: str) -> str:
    """The value. Raises `ValueError` when a client would take a part of it for a step in a path (RFC 3986, 5.2.4).

    `DELETE .../documents/..` would remove the whole collection.
    """
    if not {".", ".."}.isdisjoint(value.split("/")):
        raise ValueError("must not be `.` or `..`, nor have one between slashes")
    return value


CollectionName = Annotated[str, StringConstraints(pattern=COLLECTION_PATTERN)]
"""1 to 63 of `a-z 0-9 _ -`, beginning with a letter or digit: also a safe folder and index name."""

StoredDocumentId = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    Composed,
    AfterValidator(no_control_characters),
]
"""What a document may be called that is there already: earlier versions took dot segments, and these can be removed."""

DocumentId = Annotated[StoredDocumentId, AfterValidator(no_dot_segment)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), Composed]
FileId = Annotated[str, StringConstraints(pattern=r"^file_[0-9a-f]{32}$")]
