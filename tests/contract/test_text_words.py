"""A collection's own words and synonyms, and corrected spacing, in documents and questions alike."""

import sys
import time
from itertools import product

import pytest

from infra.text.dictionary import UserDictionary
from infra.text.kiwi import shared_analyser
from infra.text.questions import Morph, Reading
from infra.text.sparse import KiwiSparseEncoder
from infra.text.synonyms import Synonyms
from infra.text.terms import bigram_id, morpheme_id
from infra.text.tidying import tidy
from schemas.collections import Chunking, SparseSettings

ENCODER = KiwiSparseEncoder()
WORDS = [
    "위립",
    "하나",
    "나라",
    "삼성",
    "복합 명사",
    "C++",
    "API",
    "서울대",
    "갤럭시",
    "뷁뷁",
    "카카오",
    "카카오뱅크",
    "s24",
]


def found(text: str) -> list[str]:
    clean = tidy(text)
    return [clean[start:end] for start, end, _ in UserDictionary(WORDS, shared_analyser())(clean)]


def _steps(known: UserDictionary, text: str) -> int:
    """How many lines of Python run for one pass over the text."""
    steps = 0

    def count(*_: object) -> object:
        nonlocal steps
        steps += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        known(text)
    finally:
        sys.settrace(before)
    return steps


def asked(text: str, **given: object) -> dict[int, float]:
    vector = ENCODER.encode_query(text, SparseSettings.model_validate(given))
    return dict(zip(vector.indices, vector.values, strict=True))


def indexed(text: str, **given: object) -> set[int]:
    sentences = ENCODER.analyse([text], SparseSettings.model_validate(given), Chunking())[0]
    return {term for sentence in sentences for term in sentence.terms}


class TestWords:
    @pytest.mark.parametrize(
        "tail",
        [
            "",
            "은",
            "에서는",
            "이라고",
            "이었다",
            "처럼",
            "들",
            "만을",
            "까지도",
            "으로부터의",
            "인지",
            "입니다",
            "하다",
            "!",
        ],
    )
    def test_particles_endings_and_signs_may_follow(self, tail: str) -> None:
        assert found(f"그 위립{tail} 좋다") == ["위립"]

    @pytest.mark.parametrize(
        "text",
        ["위립상자", "하나님", "하나은행", "삼성전자", "서울대학교", "큰위립", "나라면", "apis", "rapid", "11번가s245"],
    )
    def test_a_word_within_another_one_is_not_it(self, text: str) -> None:
        assert found(text) in ([], ["나라"] if text == "나라면" else [])

    def test_the_longest_word_wins(self) -> None:
        assert found("카카오뱅크는 카카오의 은행") == ["카카오뱅크", "카카오"]

    def test_signs_and_other_alphabets_are_borders(self) -> None:
        assert found("C++로 api를 (위립)·갤럭시S24") == ["c++", "api", "위립", "갤럭시", "s24"]

    def test_blanks_within_a_word_may_vary(self) -> None:
        assert found("복합명사가 복합 명사를 복합\n명사") == ["복합명사", "복합 명사", "복합\n명사"]
        term = morpheme_id("복합명사")
        assert all(term in indexed(text, words=["복합 명사"]) for text in ("복합명사가", "복합  명사를", "복합\n명사"))

    def test_documents_and_questions_agree(self) -> None:
        term = morpheme_id("위립")
        for text in ("위립은 빠르다.", "우리는 위립으로 일한다", "WeLIP(위립)"):
            assert term in indexed(text, words=["위립"])
            assert term in asked(text, words=["위립"])
        assert term not in indexed("위립은 빠르다.")

    def test_words_hold_in_every_window_of_a_long_text(self) -> None:
        (sentences,) = ENCODER.analyse(["위립은 빠르다. " * 3_000], SparseSettings(words=("위립",)))
        assert len(sentences) == 3_000
        assert all(morpheme_id("위립") in sentence.terms for sentence in sentences)

    def test_one_collections_words_are_not_anothers(self) -> None:
        before = indexed("위립은 빠르다")
        assert indexed("위립은 빠르다", words=["위립"]) != before
        assert indexed("위립은 빠르다") == before

    def test_a_word_that_is_written_with_blanks_here_and_there_may_have_either(self) -> None:
        known = UserDictionary(["가 나다", "가나 다", "가나다라"], shared_analyser())
        for text in ("가 나다", "가나 다", "가나다", "가 나 다"):
            assert known(text) == [(0, len(text), "NNP")]
        assert known("가나다 라") == [(0, 3, "NNP")]
        assert known("가나 다라")[:1] != [(0, 5, "NNP")]

    @pytest.mark.parametrize(
        "words",
        [
            [("a " * 40) + tail for tail in map("".join, product("bcdefghijk", repeat=3))],
            [("a " * number) + "a" for number in range(50)],
            [("a " * number) + "aa" for number in range(49)],
            ["a" * number for number in range(1, 100)],
            ["가" * number for number in range(1, 100)],
        ],
        ids=["alike to the end", "nested", "nested with another end", "no blanks", "Hangul"],
    )
    @pytest.mark.parametrize("text", ["a ", "a", "가", "가 ", "가가가가가가 ", "a  \n", "aa "])
    def test_words_that_begin_alike_cost_no_more_where_the_text_is_longer(self, words: list[str], text: str) -> None:
        """Steps of Python are counted, the calls into the analyser included."""
        known = UserDictionary(words, shared_analyser())
        short, long = (_steps(known, (text * 8_000)[:size]) for size in (1_000, 4_000))
        assert long < 5 * short + 1_000

    def test_ten_thousand_words_do_not_slow_the_text_down(self) -> None:
        text = "대한민국은 민주공화국이다. 모든 권력은 국민으로부터 나온다. " * 500
        words = tuple(f"{a}{b}{n}" for a in "가나다라마바사아자차" for b in "국민권력은나온다모" for n in range(112))[
            :10_000
        ]
        times = {}
        for name, settings in (("without", SparseSettings()), ("with", SparseSettings(words=words))):
            ENCODER.analyse([text], settings)
            began = time.process_time()
            for _ in range(3):
                ENCODER.analyse([text], settings)
            times[name] = time.process_time() - began
        assert times["with"] < 3 * times["without"]


class TestSynonyms:
    GROUPS = (["KBS", "한국방송공사", "케이비에스"], ["달리다", "뛰다"], ["인공 지능", "AI"], ["왕", "임금"])

    def asked(self, text: str) -> dict[int, float]:
        return asked(text, synonyms=self.GROUPS)

    def test_a_question_with_one_word_asks_for_the_others(self) -> None:
        weights = self.asked("KBS는 언제 생겼나?")
        assert all(term in weights for term in ENCODER.encode_query("한국방송공사", SparseSettings()).indices)
        assert morpheme_id("케이비에스") in weights or bigram_id("케이") in weights
        assert morpheme_id("인공") not in weights

    @pytest.mark.parametrize("text", ["누가 빨리 달렸나?", "누가 달리는가", "잘 달리다"])
    def test_verbs_meet_in_every_form(self, text: str) -> None:
        assert self.asked(text)[morpheme_id("뛰")] > 0

    @pytest.mark.parametrize("text", ["인공지능의 역사", "인공 지능이란?", "AI의 역사"])
    def test_blanks_within_a_word_do_not_matter(self, text: str) -> None:
        weights = self.asked(text)
        assert morpheme_id("ai") in weights
        assert morpheme_id("인공") in weights or morpheme_id("인공지능") in weights

    @pytest.mark.parametrize("text", ["왕십리역은 어디인가?", "MAIN 함수", "태왕사신기"])
    def test_a_part_of_another_word_is_no_word(self, text: str) -> None:
        assert self.asked(text) == asked(text)

    def test_a_group_counts_about_as_one_word(self) -> None:
        alone, together = asked("KBS"), self.asked("KBS")
        others = asked("한국방송공사")
        added = sum(weight for term, weight in together.items() if term in others and term not in alone)
        assert added == pytest.approx(sum(alone.values()))

    def test_what_a_question_holds_keeps_its_weight(self) -> None:
        before = asked("KBS 사장")
        after = self.asked("KBS 사장")
        assert {term: after[term] for term in before} == before

    def test_documents_are_not_touched(self) -> None:
        assert indexed("KBS는 방송사이다", synonyms=self.GROUPS) == indexed("KBS는 방송사이다")

    def test_own_words_may_be_synonyms(self) -> None:
        weights = asked("위립은 무엇인가?", words=["위립"], synonyms=[["위립", "WeLIP"]])
        assert morpheme_id("welip") in weights

    def test_thousands_of_groups_answer_at_once(self) -> None:
        settings = SparseSettings(synonyms=tuple((f"낱말{n}", f"대한{n}", f"조선{n}") for n in range(5_000)))
        ENCODER.encode_query("대한12는 어디인가?", settings)
        began = time.process_time()
        vector = ENCODER.encode_query("대한123은 어디인가?", settings)
        assert time.process_time() - began < 5
        assert bigram_id("낱말") in vector.indices

    def test_a_word_is_analysed_once_however_many_questions_hold_it(self) -> None:
        read: list[str] = []

        def reading(text: str) -> Reading:
            read.append(text)
            morph = Morph(text, "NNG", 0, len(text))
            return Reading(text, [morph], {morpheme_id(text): 1.0})

        synonyms = Synonyms([[f"가{n}", f"나{n}"] for n in range(30_000)], reading)
        question = reading("가7")
        for _ in range(3):
            assert set(synonyms.expand(question)) == {morpheme_id("가7"), morpheme_id("나7")}
        assert len(read) == len(set(read)) + 1  # the question itself, which is a word, too


class TestSpacing:
    def test_blanks_within_words_are_mended(self) -> None:
        term = morpheme_id("대한민국")
        assert term not in asked("대한 민 국의 수 도는 어디인가요")
        assert term in asked("대한 민 국의 수 도는 어디인가요", correct_spacing=True)

    def test_a_question_without_blanks_needs_no_mending(self) -> None:
        (sentence,) = ENCODER.analyse(["대한민국의 수도는 서울이다."], SparseSettings())[0]
        for mend in (False, True):
            weights = asked("대한민국의수도는어디인가요", correct_spacing=mend)
            assert {morpheme_id("대한민국"), morpheme_id("수도")} <= weights.keys() & set(sentence.terms)

    def test_what_is_written_counts_still(self) -> None:
        text = "국민연금 수급나이"
        assert asked(text).items() <= asked(text, correct_spacing=True).items()
