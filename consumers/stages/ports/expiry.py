"""Blobs that nobody's row names, and that go by themselves."""

from datetime import timedelta
from typing import Protocol


class Expiry(Protocol):
    """When blobs are deleted."""

    async def expire(self, key: str, after: timedelta) -> None:
        """Delete the blob under `key` after this time. Call it before the blob is written; each call moves the time."""
