"""Stop strings in texts that come in pieces of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.engines.stops import Stops


def shown(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    found = Stops(stops)
    text = "".join(found.feed(piece) for piece in pieces)
    return text + found.end(), found.hit


@pytest.mark.parametrize(
    ("pieces", "stops", "text", "hit"),
    [
        (["한라산은", " 높다."], [], "한라산은 높다.", False),
        (["한라산은 높", "다. 끝"], ["다."], "한라산은 높", True),
        (["a", "b", "c", "d"], ["bcd"], "a", True),
        (["ab", "ac"], ["abb"], "abac", False),
        (["aab"], ["b", "ab"], "a", True),
        (["ab"], ["", "abc"], "ab", False),
    ],
)
def test_nothing_of_a_stop_string_is_shown(pieces: list[str], stops: list[str], text: str, hit: bool) -> None:
    assert shown(pieces, stops) == (text, hit)


@given(st.text("ab", max_size=30), st.lists(st.integers(1, 5)), st.lists(st.text("ab", min_size=1, max_size=4)))
def test_the_size_of_the_pieces_does_not_matter(text: str, sizes: list[int], stops: list[str]) -> None:
    pieces, at = [], 0
    for size in [*sizes, len(text)]:
        pieces.append(text[at : at + size])
        at += size
    found = Stops(stops)
    told = "".join(found.feed(piece) for piece in pieces)
    # A longer stop string may begin earlier and end later than one that has ended: it counts where it is not cut off.
    assert text.startswith(told + found.end())
    assert found.hit == any(stop in text for stop in stops)
    assert not any(stop in told for stop in stops)
