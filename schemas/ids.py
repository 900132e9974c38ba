"""Ids as people see them: `<prefix>_<32 hex digits>` of a UUIDv7, so that they sort by time."""

import re
from uuid import UUID

from schemas.errors import NotFound


def shown(prefix: str, id: UUID) -> str:
    """`job_0199...`."""
    return f"{prefix}_{id.hex}"


def pattern(prefix: str) -> str:
    """The regular expression of an id with this prefix."""
    return f"^{prefix}_[0-9a-f]{{32}}$"


def parsed(prefix: str, text: str) -> UUID:
    """The UUID in an id. Raises `NotFound` for anything else, because such a thing cannot exist."""
    # Not by `UUID` alone, which takes blanks, braces, signs and capitals.
    if re.fullmatch(pattern(prefix), text):
        return UUID(hex=text[-32:])
    raise NotFound(f"there is no {prefix} {text!r}: an id looks like {prefix}_ and 32 hex digits", field="id")
