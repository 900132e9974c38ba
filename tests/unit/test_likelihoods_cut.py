"""How a text and its context become tokens to score: whatever the length, each token of the text counts once."""

from typing import Any

import pytest

from infra.engines.likelihoods import WINDOW, scorings
from schemas.errors import EngineRefused


class Letters:
    """A tokenizer: a token for each character, but for a blank before a letter, which is one with it."""

    bos_token_id: int | None = 1
    eos_token_id: int | None = 2

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, Any]:
        assert not add_special_tokens
        ids, at = [], 0
        while at < len(text):
            size = 2 if text[at] == " " and at + 1 < len(text) else 1
            ids.append(10 + int.from_bytes(text[at : at + size].encode(), "big") % 1_000_003)
            at += size
        return {"input_ids": ids}


def ids(text: str) -> list[int]:
    return list(Letters()(text, add_special_tokens=False)["input_ids"])


def test_the_text_alone_counts_and_the_context_is_read() -> None:
    [one] = scorings(Letters(), "ab", " cd", length=64)
    assert (one.ids, one.scored, one.cut) == (ids("ab cd"), 2, False)


def test_a_blank_at_the_end_of_the_context_moves_to_the_text() -> None:
    assert scorings(Letters(), "ab ", "cd", length=64) == scorings(Letters(), "ab", " cd", length=64)


def test_a_context_of_blanks_stays_where_it_is() -> None:
    [one] = scorings(Letters(), "\n", "cd", length=64)
    assert (one.ids, one.scored) == (ids("\ncd"), 2)


def test_a_long_context_loses_its_beginning() -> None:
    [one] = scorings(Letters(), "abcdefgh", "ij", length=6)
    assert (one.ids, one.scored, one.cut) == (ids("fghij"), 2, True)


@pytest.mark.parametrize(("context", "text", "code"), [("ab", "cdefgh", "prompt_too_long"), ("ab", "", "text_empty")])
def test_a_text_that_cannot_be_scored_is_refused(context: str, text: str, code: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        scorings(Letters(), context, text, length=6)
    assert refused.value.reason == code


@pytest.mark.parametrize("length", [3, 5, 64, WINDOW + 10])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 62, 63, 64, 2 * WINDOW])
def test_windows_score_each_token_of_a_text_once_after_as_much_as_fits(length: int, count: int) -> None:
    text = "".join(chr(0x4E00 + at) for at in range(count))
    parts = scorings(Letters(), "", text, length=length)
    scored = [token for part in parts for token in part.ids[-part.scored :]]
    assert scored == ids(text)
    assert all(part.scored < len(part.ids) <= min(length - 1, WINDOW) for part in parts)
    assert parts[0].ids[0] == Letters.bos_token_id
    assert all(len(part.ids) == min(length - 1, WINDOW) for part in parts[1:])


def test_without_a_token_to_begin_with_the_first_one_is_not_scored() -> None:
    class Bare(Letters):
        bos_token_id = eos_token_id = None

    [one] = scorings(Bare(), "", "abc", length=64)
    assert (one.ids, one.scored) == (ids("abc"), 2)
    with pytest.raises(EngineRefused):
        scorings(Bare(), "", "a", length=64)
