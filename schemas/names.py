"""Names and texts that more than one schema uses, each with its rule."""

from typing import Annotated, Any
from unicodedata import category

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from schemas.normalisation import nfc

COLLECTION_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def no_control_characters(value: str) -> str:
    """The value. Raises `ValueError` when it holds an invisible character."""
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError("must not hold control characters")
    return value


def printable(value: str) -> str:
    """The value. Raises `ValueError` when it holds something that breaks a line, reorders it or is not a character.

    Not `str.isprintable`, which rejects blanks other than the ASCII one, joiners of emoji, and characters newer than
    this Python.
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
"""In Unicode form NFC, because macOS spells Korean in another form that looks the same.

It comes after a string's constraints: with a function in between, pydantic would check the length before it strips.
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
"""The id of an existing document: earlier versions accepted dot segments, and such documents must be removable."""

DocumentId = Annotated[StoredDocumentId, AfterValidator(no_dot_segment)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), Composed]
FileId = Annotated[str, StringConstraints(pattern=r"^file_[0-9a-f]{32}$")]
