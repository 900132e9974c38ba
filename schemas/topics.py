"""Where work travels: lanes, pools and the names of topics."""

from enum import StrEnum

PREFIX = "welip"


class Lane(StrEnum):
    """`interactive` work is never delayed by a flood of `bulk` work: each lane has topics of its own."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Pool(StrEnum):
    """A set of interchangeable worker processes, scaled together.

    Each pool that runs stages has an optional package group of its name. A worker runs one stage of `train` at a time.
    `webhook` reads no topics: it sends the deliveries that are due in Postgres.
    """

    CPU = "cpu"
    GPU = "gpu"
    TRAIN = "train"
    WEBHOOK = "webhook"


def topic_name(kind: str, stage: str, lane: str, model: str | None = None) -> str:
    """`welip.<kind>.<stage>.<lane>`, or `welip.<kind>.<stage>.<model>.<lane>` where a model does the work."""
    return f"{PREFIX}.{kind}.{stage}.{lane}" if model is None else f"{PREFIX}.{kind}.{stage}.{model}.{lane}"


def kind_of(topic: str) -> str:
    """The kind in a topic's name."""
    return topic.split(".", 2)[1]


def group_name(pool: Pool, lane: Lane, model: str | None = None) -> str:
    """The consumer group of a pool's workers, or of those that serve a model: one for each lane.

    `welip.<pool>.<lane>` or `welip.<pool>.<model>.<lane>`.
    """
    return f"{PREFIX}.{pool}.{lane}" if model is None else f"{PREFIX}.{pool}.{model}.{lane}"
