"""Ids as people see them: `<prefix>_<32 hex digits>` of a UUIDv7, so that they sort by time."""

from uuid import UUID

from schemas.errors import NotFound


def shown(prefix: str, id: UUID) -> str:
    """`job_0199...`."""
    return f"{prefix}_{id.hex}"


def pattern(prefix: str) -> str:
    """The regular expression of an id with this prefix."""
    return f"^{prefix}_[0-9a-f]{{32}}$"


def parsed(prefix: str, text: str) -> UUID:
    """The UUID in an id. Raises `NotFound` for whatever is not one: such a thing cannot exist."""
    head, _, digits = text.partition("_")
    if head == prefix and len(digits) == 32:
        try:
            return UUID(hex=digits)
        except ValueError:
            pass
    raise NotFound(f"there is no {prefix} {text!r}: an id looks like {prefix}_ and 32 hex digits", field="id")
