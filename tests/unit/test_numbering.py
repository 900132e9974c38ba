"""What the readers of word processors' files rely on: which number comes next, and how it is written."""

import pytest

from infra.documents.numbering import Counters, Level, labelled, spelled

STATUTE = (
    Level("decimal", "제%1조"),
    Level("decimalEnclosedCircle", "%2"),
    Level("ganada", "%3."),
    Level("decimal", "%1-%3", legal=True),
)


def labels(levels: tuple[Level, ...], *asked: int) -> list[str]:
    counters = Counters()
    return [counters.label("a", levels, level) for level in asked]


@pytest.mark.parametrize(
    ("format", "written"),
    [
        ("decimalZero", {1: "01", 10: "10"}),
        ("upperRoman", {4: "IV", 1994: "MCMXCIV", 4000: "4000"}),
        ("lowerLetter", {1: "a", 26: "z", 27: "aa"}),
        ("decimalEnclosedCircle", {1: "①", 20: "⑳", 21: "㉑", 36: "㊱", 50: "㊿", 51: "51"}),
        ("decimalEnclosedParen", {3: "⑶"}),
        ("ganada", {1: "가", 14: "하", 15: "가가"}),
        ("chosung", {1: "ㄱ", 14: "ㅎ"}),
        ("HANGUL_SYLLABLE", {14: "하", 15: "거", 29: "고"}),
        ("CIRCLED_HANGUL_JAMO", {1: "㉠", 14: "㉭"}),
        ("koreanDigital", {12: "일이", 20: "이영"}),
        ("koreanCounting", {10: "십", 12: "십이", 205: "이백오", 12_000: "만이천"}),
        ("koreanLegal", {3: "셋", 11: "열하나", 20: "스물", 99: "아흔아홉"}),
        ("ideographTraditional", {1: "甲", 10: "癸", 11: "11"}),
        ("ideographZodiac", {12: "亥"}),
        ("IDEOGRAPH", {21: "二十一"}),
        ("DECAGON_CIRCLE", {2: "을"}),
        ("none", {7: ""}),
        ("unheard of", {7: "7"}),
    ],
)
def test_numbers_are_written_as_the_format_says(format: str, written: dict[int, str]) -> None:
    assert {number: spelled(number, format) for number in written} == written


def test_a_level_counts_until_one_above_goes_on() -> None:
    asked = (0, 0, 1, 1, 2, 0, 1)
    assert labels(STATUTE, *asked) == ["제1조", "제2조", "①", "②", "가.", "제3조", "①"]


def test_a_level_may_go_on_counting() -> None:
    levels = (Level(text="%1장"), Level(text="제%2조", restart_after=0))
    assert labels(levels, 0, 1, 0, 1) == ["1장", "제1조", "2장", "제2조"]
    levels = (Level(), Level(), Level(text="%3", restart_after=1))
    assert labels(levels, 0, 1, 2, 1, 2, 0, 2) == ["1.", "%2".replace("%2", "1."), "1", "1.", "2", "2.", "1"]


def test_numbers_of_levels_above_are_shown_as_those_levels_write_them_unless_legal() -> None:
    levels = (Level("upperRoman"), Level("ganada", "%1.%2"), Level(text="%1.%2.%3", legal=True))
    assert labels(levels, 0, 1, 2) == ["I.", "I.가", "1.1.1"]


def test_a_level_may_show_the_path_to_it() -> None:
    levels = (Level("DIGIT", "^1."), Level("DIGIT", "^n"), Level("DIGIT", "^N"))
    assert labels(levels, 0, 0, 1, 2) == ["1.", "2.", "2.1", "2.1.1."]


def test_a_level_above_that_never_came_shows_where_it_starts() -> None:
    assert labels((Level(start=5), Level(text="%1.%2")), 1) == ["5.1"]


def test_lists_that_count_together_go_on_and_one_may_begin_anew_once() -> None:
    counters = Counters()
    found = [
        counters.label("a", STATUTE, 0, list_=name, begins={0: 7} if name == "2" else {})
        for name in ("1", "2", "2", "1")
    ]
    assert found == ["제1조", "제7조", "제8조", "제9조"]


def test_bullets_have_no_number_and_strange_levels_do_no_harm() -> None:
    assert labels((Level("bullet", "\uf0b7"),), 0) == [""]
    assert labels((), 3) == [""]
    assert labels(STATUTE[:1], 99) == ["제1조"]


def test_an_article_stands_against_its_title() -> None:
    assert labelled("제3조", "(대금) 대금은") == "제3조(대금) 대금은"
    assert labelled("①", "(선금) 선금은") == "① (선금) 선금은"
    assert labelled("가.", "계약서") == "가. 계약서"
    assert labelled("1)", "글", "") == "1)글"
    assert labelled("1.", "  ") == "  "
