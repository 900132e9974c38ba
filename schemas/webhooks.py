"""Webhooks as clients and receivers see them (https://www.standardwebhooks.com): events, endpoints, deliveries."""

from enum import StrEnum
from typing import Final

from schemas.lifecycle import TERMINAL


class DeliveryState(StrEnum):
    """Where a delivery is: `pending` until the receiver took it, or until there is no point in trying on."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


NOUNS: Final = ("job", "batch")
"""What events tell of: a job of kind `batch` is a batch, any other a job. Children are not announced."""

EVENTS: Final = tuple(f"{noun}.{state.value}" for noun in NOUNS for state in sorted(TERMINAL))
"""Every event type."""
