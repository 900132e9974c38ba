"""Near duplicates are found by what two texts share, and languages by their letters."""

import pytest

from consumers.scoring.texts import text_key
from consumers.stages.letters import broken_characters, language, markup
from consumers.stages.near import HEADS, Sketches

STORY = "한라산은 제주도 한가운데에 있는 산으로, 높이가 남한에서 가장 높다. 겨울에는 눈이 많이 쌓여 등산객이 붐빈다."
OTHER = "서울의 지하철은 하루에 수백만 명이 이용하며, 노선이 스무 개가 넘어 처음 온 사람은 길을 잃기 쉽다."


def sketches(*texts: str) -> Sketches:
    made = Sketches()
    for text in texts:
        made.add(text_key(text))
    return made


def test_a_text_with_a_few_other_characters_is_like_the_earlier_one() -> None:
    found = sketches(STORY, OTHER, STORY.replace("붐빈다", "붐볐다")).repeats(0.85)
    assert set(found) == {2}
    assert found[2].other == 0
    assert found[2].similarity >= 0.85


def test_texts_that_share_few_trigrams_are_not_alike() -> None:
    assert sketches(STORY, OTHER, STORY[: len(STORY) // 2]).repeats(0.85) == {}


def test_the_threshold_says_how_much_two_texts_share() -> None:
    half = STORY[: len(STORY) * 3 // 4]
    assert sketches(STORY, half).repeats(0.85) == {}
    assert set(sketches(STORY, half).repeats(0.6)) == {1}


def test_texts_with_other_numbers_are_never_alike() -> None:
    texts = [f"{year}년 매출은 전년에 비해 얼마나 늘었는지 사업부마다 나누어 알려 주세요" for year in (2023, 2024)]
    assert sketches(*texts).repeats(0.5) == {}
    assert set(sketches(texts[0], texts[0] + "!").repeats(0.85)) == {1}


def test_another_dataset_is_searched_for_like_texts() -> None:
    mine, theirs = sketches(OTHER, STORY), sketches("전혀 다른 글이다", STORY + " 끝")
    found = mine.like(theirs, 0.85)
    assert {place: like.other for place, like in found.items()} == {1: 1}
    assert mine.like(Sketches(), 0.85) == {}
    assert Sketches().repeats(0.85) == {}


def test_every_one_of_many_like_texts_is_found() -> None:
    many = sketches(*[f"{STORY} {chr(0xAC00 + n)}" for n in range(3 * HEADS)])
    assert set(many.repeats(0.85)) == set(range(1, 3 * HEADS))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("한라산의 높이는?", "ko"),
        ("RAG 파이프라인의 top_k는 얼마?", "ko"),
        ("大韓民國 헌법 제1조는?", "ko"),
        ("How high is Hallasan?", "latin"),
        ("富士山の高さは?", "ja"),
        ("汉拿山有多高?", "zh"),
        ("Какая высота?", "cyrillic"),
        ("ύψος;", "other"),
        ("1,947 + 3 = ?", "none"),
        ("", "none"),
    ],
)
def test_letters_tell_the_language(text: str, told: str) -> None:
    assert language(text) == told


def test_broken_characters_and_markup_are_named() -> None:
    assert broken_characters("a\ufffdb\x07\x07c") == ["U+0007", "U+FFFD"]
    assert broken_characters("두 줄\n과 탭\t은 괜찮다") == []
    assert markup("본문<br/>다음") == "<br/>"
    assert markup("AT&amp;T") == "&amp;"
    assert markup("a < b and c > d, <3") is None
