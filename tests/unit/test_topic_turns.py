"""Which topics a poll asks first."""

from collections import Counter

from aiokafka import TopicPartition

from consumers.turns import Turns

ASSIGNED = frozenset(TopicPartition(topic, n) for topic in ("begun", "one", "two") for n in range(2))


def asked(turns: Turns, under_way: int = 0) -> list[set[str]]:
    return [{one.topic for one in partitions} for partitions in turns.next(ASSIGNED, Counter(begun=under_way), slots=8)]


def test_what_was_begun_goes_first_until_it_has_three_quarters_of_the_slots() -> None:
    turns = Turns(["one", "begun", "two"], {"begun"})
    assert asked(turns, 5)[0] == {"begun"}
    assert asked(turns, 6)[-1] == {"begun"}


def test_the_others_take_turns_and_none_is_left_out() -> None:
    turns = Turns(["one", "begun", "two"], {"begun"})
    rounds = [asked(turns) for _ in range(4)]
    assert [after_begun for _, after_begun, _ in rounds] == [{"two"}, {"one"}, {"two"}, {"one"}]
    assert {frozenset(rest) for _, _, rest in rounds} == {frozenset({"one", "two"})}


def test_a_topic_of_which_this_worker_has_no_partition_has_no_turn() -> None:
    turns = Turns(["one", "begun", "two"], {"begun"})
    assert [
        [one.topic for one in found] for found in turns.next(frozenset({TopicPartition("two", 1)}), Counter(), 8)
    ] == [["two"]]


def test_a_single_topic_needs_no_turns() -> None:
    assert asked(Turns(["one"], set())) == []
