"""What all code that takes a tenant's text relies on: Unicode form NFC, in linear time."""

from unicodedata import is_normalized, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.normalisation import MAX_MARKS, marks, nfc

MARKS = "\u0327\u0301\u0323\u0334\u0344\u0f73\uff9e\U0001d165"


@given(st.text(alphabet="a가\u1100\u1161\u11a8\u212b" + MARKS, max_size=80))
def test_it_is_nfc_with_no_run_of_marks_too_long(text: str) -> None:
    normal = nfc(text)
    assert is_normalized("NFC", normal)
    assert nfc(normal) == normal
    assert normal.replace("\u034f", "") in (normal, normalize("NFC", text)) or len(text) > MAX_MARKS


@given(st.text(max_size=30))
def test_text_with_few_marks_becomes_plain_nfc(text: str) -> None:
    assert nfc(text) == normalize("NFC", text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit", ["\u0327\u0301", "\u0f73", "\u0f73\u0327", "\uff9e\u0334", "\u1ec7\u0323", "\U0001d165\u0334"]
)
def test_a_megabyte_of_marks_is_normalised_at_once(unit: str) -> None:
    """Code that is quadratic in a run would take minutes."""
    text = "a" + unit * 500_000
    assert len(nfc(text)) >= 500_000


def test_every_character_that_may_move_behind_another_is_a_mark() -> None:
    moving = {chr(code) for code in range(0x110000) if normalize("NFD", chr(code))[0] in marks()}
    assert moving <= marks()
