"""How late a reader sees a text is measured from the piece that the engine wrote to the one that brought its end."""

from benchmarks.reads import Read, lags_of

MS = 1_000_000
LATER = 10**18


def test_a_piece_is_as_late_as_the_one_that_brought_its_end() -> None:
    read = Read(pieces=[(4, 10 * MS), (9, 30 * MS)])
    written = [(2, 1 * MS), (4, 4 * MS), (5, 12 * MS), (9, 25 * MS)]
    assert lags_of(read, written, LATER) == [9.0, 6.0, 18.0, 5.0]


def test_what_never_came_or_came_after_the_gateway_was_killed_does_not_count() -> None:
    read = Read(pieces=[(4, 10 * MS), (6, 30 * MS)])
    written = [(4, 4 * MS), (6, 12 * MS), (9, 25 * MS)]
    assert lags_of(read, written, 20 * MS) == [6.0]
    assert lags_of(Read(), written, LATER) == []


def test_what_was_written_before_a_reader_asked_for_it_is_late_from_then_on() -> None:
    read = Read(followed_at=6 * MS, pieces=[(4, 10 * MS), (6, 15 * MS)])
    assert lags_of(read, [(2, 1 * MS), (4, 8 * MS), (6, 9 * MS)], LATER) == [4.0, 2.0, 6.0]
