"""Batches go to partitions in turn, so that a burst reaches every worker."""

from collections import Counter

from infra.kafka.broker import Rotation


def test_partitions_are_chosen_in_turn() -> None:
    choose = Rotation()
    assert set(Counter(choose(None, [0, 1, 2, 3], [2, 0, 3, 1]) for _ in range(12)).values()) == {3}


def test_a_partition_without_a_leader_is_left_out_while_another_has_one() -> None:
    choose = Rotation()
    assert {choose(None, [0, 1, 2], [0, 2]) for _ in range(6)} == {0, 2}
    assert {choose(None, [0, 1, 2], []) for _ in range(6)} == {0, 1, 2}


def test_partitions_that_nobody_reads_get_nothing() -> None:
    choose = Rotation(2)
    assert {choose(None, [3, 1, 0, 2], [3, 1, 0, 2]) for _ in range(6)} == {0, 1}
