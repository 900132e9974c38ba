"""Where work travels: lanes, pools and the names of topics."""

from enum import StrEnum

PREFIX = "welip"


class Lane(StrEnum):
    """`interactive` work is never delayed by a flood of `bulk` work: each lane has topics of its own."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Pool(StrEnum):
    """A set of interchangeable worker processes, scaled together.

    Pools that run stages have an optional package group of their name each. `webhook` reads no topics: it delivers
    what Postgres says is due.
    """

    CPU = "cpu"
    GPU = "gpu"
    WEBHOOK = "webhook"


def topic_name(kind: str, stage: str, lane: str) -> str:
    """`welip.<kind>.<stage>.<lane>`; on Apache Kafka its consumer group bears its name."""
    return f"{PREFIX}.{kind}.{stage}.{lane}"
