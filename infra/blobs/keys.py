"""Which keys object storage accepts: one rule for all adapters, so that a key valid for one is valid for all."""

from schemas.errors import InvalidInput

MAX_KEY_BYTES = 1024
"""Amazon S3's limit on a key, in UTF-8 bytes."""

MAX_SEGMENT_BYTES = 255
"""The longest name in common file systems; MinIO has the same limit."""


def checked(key: str) -> str:
    """`key`, unchanged. Raises `InvalidInput` unless it is a relative path of plain segments separated by `/`."""
    problem = _problem(key)
    if problem:
        raise InvalidInput(f"{key[:100]!r} is not a blob key: {problem}", field="key")
    return key


def checked_range(start: int, length: int | None) -> None:
    """Raise `InvalidInput` when a byte range has a negative bound."""
    if start < 0 or (length is not None and length < 0):
        raise InvalidInput(f"a byte range cannot begin at {start} with length {length}", field="range")


def _problem(key: str) -> str | None:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if not 0 < size <= MAX_KEY_BYTES:
        return f"it must have 1 to {MAX_KEY_BYTES} bytes"
    if "\\" in key or any(ord(c) < 32 or ord(c) == 127 for c in key):
        return "it must not hold backslashes or control characters"
    for segment in key.split("/"):
        if segment in ("", ".", ".."):
            return "no segment may be empty, `.` or `..`"
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            return f"a segment must have at most {MAX_SEGMENT_BYTES} bytes"
    return None
