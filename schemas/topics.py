"""Where work travels: lanes, pools and the names of topics."""

from enum import StrEnum

PREFIX = "welip"


class Lane(StrEnum):
    """`interactive` work is never delayed by a flood of `bulk` work: each lane has topics of its own."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Pool(StrEnum):
    """A set of interchangeable worker processes, scaled together.

    Each pool that runs stages has an optional package group of its name. `webhook` reads no topics: it sends the
    deliveries that are due in Postgres.
    """

    CPU = "cpu"
    GPU = "gpu"
    WEBHOOK = "webhook"


def topic_name(kind: str, stage: str, lane: str, model: str | None = None) -> str:
    """`welip.<kind>.<stage>.<lane>`, or `welip.<kind>.<stage>.<model>.<lane>` where a model does the work.

    On Apache Kafka its consumer group has the same name.
    """
    return f"{PREFIX}.{kind}.{stage}.{lane}" if model is None else f"{PREFIX}.{kind}.{stage}.{model}.{lane}"
