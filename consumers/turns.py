"""Says which of its topics a consumer asks first: what was begun goes before the rest, and topics take turns."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from aiokafka import TopicPartition


class Turns:
    """The turns of the topics of one subscription.

    What was begun, the topics `ahead`, goes first, or a fan-out would take all of its children through their first
    stage before one of them ends. It cannot keep the rest from its turn: each of its messages needs a stage before it
    that had one, and where it waits for something itself, a quarter of the slots is left to the rest.

    Among each of these the topics take turns, or the first message of one would wait for the thousands that were
    fetched of another.
    """

    def __init__(self, topics: Sequence[str], ahead: Collection[str]) -> None:
        self._ahead = [topic for topic in topics if topic in ahead]
        self._rest = [topic for topic in topics if topic not in ahead]
        self._turn = 0
        self._assigned: Collection[TopicPartition] = ()
        self._partitions: dict[str, list[TopicPartition]] = {}

    def next(
        self, assigned: Collection[TopicPartition], under_way: Mapping[str, int], slots: int
    ) -> Iterator[list[TopicPartition]]:
        """The partitions to ask one after the other until some bring messages.

        `under_way`: stages by topic. `slots`: how many jobs may run at once.
        """
        if len(self._ahead) + len(self._rest) < 2:
            return
        if assigned is not self._assigned:
            self._assigned = assigned
            self._partitions = {}
            for one in assigned:
                self._partitions.setdefault(one.topic, []).append(one)
        self._turn += 1
        ahead_first = sum(under_way[topic] for topic in self._ahead) < max(1, slots * 3 // 4)
        for rank in (self._ahead, self._rest) if ahead_first else (self._rest, self._ahead):
            mine = [topic for topic in rank if topic in self._partitions]
            if len(mine) > 1:
                yield self._partitions[mine[self._turn % len(mine)]]
            if mine:
                yield [one for topic in mine for one in self._partitions[topic]]
