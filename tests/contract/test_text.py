"""What every stage expects of the Korean text tools: offsets, terms, weights, and survival of any input."""

import math
import threading
import time
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kiwipiepy import KiwiConfig

from infra.text.kiwi import BEAM, WINDOW_CHARS, shared_analyser, windows
from infra.text.references import references
from infra.text.sparse import KiwiSparseEncoder
from infra.text.terms import bigram_id, bigram_ids, bigrams, morpheme_id
from infra.text.tidying import tidied, tidy
from schemas.collections import Chunking, SparseSettings
from schemas.retrieval import Sentence, SparseVector

ENCODER = KiwiSparseEncoder()
SETTINGS = SparseSettings()
CHUNKING = Chunking()

WILD = [
    "",
    " ",
    "😀👩‍👩‍👧",
    "漢字",
    "ㅋㅋㅋㅏ",
    "\x00",
    "가\x00나",
    "\ud83d",
    "a\u0301\u0302",
    "ᄀᆞᆷ",
    "\u200b",
    "?!",
    "가" * 50,
    "İstanbul",
    "\u0958\u212b\u0344",
    "\u05e9\u05dc\u05d5\u05dd 안녕",
]
WILDER = st.text(
    alphabet="가나다요. ?!\n\x00\t|ㅋa1A😀\"'漢\u0301\u0323\u1100\u1161\u11a8İ\u212b\u0958\u05e9\ud83d\u200d①㎏ﾊﾞ제",
    max_size=200,
)


def encoded(*texts: str, given: SparseSettings = SETTINGS, encoder: KiwiSparseEncoder = ENCODER) -> list[SparseVector]:
    return [
        encoder.weigh([sentence.terms for sentence in found], given)
        for found in encoder.analyse(texts, given, CHUNKING)
    ]


def asked(text: str, **given: object) -> dict[int, float]:
    vector = ENCODER.encode_query(text, SparseSettings.model_validate(given))
    return dict(zip(vector.indices, vector.values, strict=True))


def shared(query: dict[int, float], document: SparseVector) -> float:
    weights = dict(zip(document.indices, document.values, strict=True))
    return sum(weights.get(index, 0.0) * value for index, value in query.items())


def spans(text: str, chunking: Chunking | None = None) -> list[Sentence]:
    (found,) = ENCODER.analyse([text], SETTINGS, chunking)
    return found


def written(text: str, chunking: Chunking | None = None) -> list[str]:
    return [text[one.start : one.end] for one in spans(text, chunking)]


class TestSparse:
    @pytest.mark.parametrize("text", WILD)
    def test_any_text_gives_a_well_formed_vector(self, text: str) -> None:
        for vector in (*encoded(text), ENCODER.encode_query(text, SETTINGS)):
            assert list(vector.indices) == sorted(set(vector.indices))
            assert len(vector.indices) == len(vector.values)
            assert all(0 <= index < 2**32 for index in vector.indices)
            assert all(value > 0 for value in vector.values)

    def test_a_text_without_content_is_empty(self) -> None:
        assert [asked(text) for text in ("", " \n", "?!…")] == [{}, {}, {}]
        assert encoded("", "?!…") == [SparseVector([], []), SparseVector([], [])]

    def test_inflected_and_compound_words_meet(self) -> None:
        stored, other = encoded("로마제국은 여러 지방을 다스렸다.", "비글은 넓은 공간에서 뛰어논다.")
        question = asked("로마 제국이 다스린 지방은?")
        assert shared(question, stored) > shared(question, other)

    def test_terms_have_the_same_ids_in_every_process(self) -> None:
        assert morpheme_id("한국") == 4291183869
        assert bigram_id("한국") == 4209876100
        assert bigram_id("한") == 2546988256

    def test_composed_and_decomposed_hangul_are_the_same(self) -> None:
        text = "서울특별시 GDP 통계"
        assert asked(text) == asked(unicodedata.normalize("NFD", text.upper()))

    @pytest.mark.parametrize(
        ("written", "question"),
        [
            ("하\u00ad자\u00ad보\u00ad수 기간은 두 해이다.", "하자보수"),
            ("발주자는 계\u200b약\u200b해\u200b지를 알린다.", "계약해지"),
            ("신형 장비에는 ＲＴＸ５０９０ 카드를 쓴다.", "RTX5090"),
            ("ﾊﾝｶｸ 문자 시험", "ハンカク"),
            ("무게 35㎏, 넓이 84㎡", "35kg 84m2"),
            ("제Ⅲ장 ① 범위", "제III장 1"),
            ("대\u2060한\u200c민\u200d국\ufe0f 만세", "대한민국"),
            ("㈜한빛과 맺은 계약", "(주)한빛"),
            (unicodedata.normalize("NFD", "규정집을 고친다"), "규정집"),
            ("계약(契約)의 해지(解止)", "계약의 해지"),
            ("계약의 해지", "계약(契約)의 해지"),
            ("大韓民國 憲法의 개정", "大韓民國 憲法 개정"),
        ],
    )
    def test_a_word_is_found_however_its_characters_are_encoded(self, written: str, question: str) -> None:
        (vector,) = encoded(written)
        weights = asked(question)
        assert shared(weights, vector) > 0
        assert len(set(weights) & set(vector.indices)) * 2 > len(weights)

    @pytest.mark.parametrize(
        ("written", "question"),
        [
            ("2024.03.05 공고", "2024년 3월 5일"),
            ("2024년 3월 5일에 열렸다", "2024-3-5"),
            ("기한은 2024. 3. 5.까지", "2024/03/05"),
            ("제3조의2(정의)", "제 3 조의 2"),
            ("제 12 조 (대금)", "제12조는?"),
        ],
    )
    def test_dates_and_articles_are_found_in_any_spelling(self, written: str, question: str) -> None:
        (vector,) = encoded(written)
        named = set(references(tidy(question))[0].tolist())
        assert named
        assert named <= set(asked(question)) & set(vector.indices)

    def test_an_article_comes_before_those_of_its_branches(self) -> None:
        question = asked("제3조는 무엇을 정하는가?")
        article, branch = encoded("제3조(대금) 대금은 납품 후 지급한다.", "제3조의3(특례) 대금은 납품 전 지급한다.")
        assert shared(question, article) > shared(question, branch)

    def test_weights_are_bm25_term_frequencies(self) -> None:
        k1, b, average = 0.9, 0.3, 10.0
        (vector,) = encoded("사과 사과 배", given=SparseSettings(k1=k1, b=b), encoder=KiwiSparseEncoder(average))
        length = 3 + 2 + 1  # morphemes, bigrams of 사과 twice, and 배 itself
        norm = k1 * (1 - b + b * length / average)
        weights = dict(zip(vector.indices, vector.values, strict=True))
        assert math.isclose(weights[morpheme_id("사과")], 2 * (k1 + 1) / (2 + norm))
        assert math.isclose(weights[bigram_id("배")], (k1 + 1) / (1 + norm))

    def test_pieces_are_weighed_together(self) -> None:
        pieces = [sentence.terms for sentence in spans("사과가 있다. 배가 있다.")]
        assert len(pieces) == 2
        assert ENCODER.weigh(pieces, SETTINGS) == ENCODER.weigh([[*pieces[1], *pieces[0]]], SETTINGS)
        once, twice = (ENCODER.weigh(piece, SETTINGS) for piece in (pieces[:1], pieces[:1] * 2))
        assert once.indices == twice.indices
        assert all(a < b for a, b in zip(once.values, twice.values, strict=True))

    def test_a_question_weighs_what_it_names_more_than_how_it_asks(self) -> None:
        weights = asked("태종은 왕인가요? 왕인가요")
        assert weights[morpheme_id("태종")] == weights[bigram_id("태종")] == 1
        assert weights[bigram_id("왕인")] == 0.5
        assert weights[bigram_id("가요")] == 0.25

    def test_the_name_tells_what_is_no_collections_own(self) -> None:
        assert KiwiSparseEncoder().name != KiwiSparseEncoder(99).name

    def test_a_batch_equals_its_texts_one_by_one(self) -> None:
        texts = [*WILD, "학교에 갔다. " * 3_000]
        assert ENCODER.analyse(texts, SETTINGS) == [spans(text) for text in texts]

    def test_threads_agree(self) -> None:
        texts = [f"제{n}조 위립은 계약을 해지할 수 있다." for n in range(40)]
        own = SparseSettings(words=("위립", "계약"))
        expected = ENCODER.analyse(texts, SETTINGS), ENCODER.analyse(texts, own)
        found: list[object] = []

        def work() -> None:
            found.append((ENCODER.analyse(texts, SETTINGS), ENCODER.analyse(texts, own)))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert expected[0] != expected[1]
        assert found == [expected] * 4

    def test_a_megabyte_without_a_blank_is_encoded_in_bounded_time(self) -> None:
        began = time.process_time()
        found = spans("대한민국헌법" * 20_000, CHUNKING)
        assert max(one.end - one.start for one in found) <= CHUNKING.max_chars
        assert sum(one.end - one.start for one in found) == 120_000
        assert time.process_time() - began < 60


@given(st.text(max_size=3 * 40), st.integers(4, 40))
def test_windows_cover_the_text_without_gap(text: str, size: int) -> None:
    cuts = windows(text, size)
    assert "".join(text[start:end] for start, end in cuts) == text
    assert all(0 < end - start <= size for start, end in cuts)


def test_readings_are_given_up_as_early_as_decided() -> None:
    text = "가죽을 메운 장구와 북은 가락을 잘게 나누거나 묵직하게 받친다."
    kiwi = shared_analyser().load()
    [window] = shared_analyser().windows([text])
    early, late = (kiwi.tokenize(text, override_config=KiwiConfig(cutoff_threshold=n)) for n in (BEAM, 8.0))
    assert [token.form for token in window.tokens] == [token.form for token in early]
    assert [token.form for token in early] != [token.form for token in late]


@given(WILDER)
def test_bigrams_of_an_array_are_those_of_the_text(text: str) -> None:
    clean = tidy(text)
    ids, offsets = bigram_ids(clean)
    assert ids.tolist() == [bigram_id(pair) for pair in bigrams(clean)]
    assert all(clean[at].isalnum() for at in offsets.tolist())


class TestTidying:
    @example("\u1161\u212b")
    @example("\u200d1\u1161")
    @given(WILDER | st.text(max_size=60))
    def test_each_character_knows_where_it_comes_from(self, text: str) -> None:
        clean = tidied(text)
        assert clean.text == tidy(text)
        at = clean.original(np.arange(len(clean.text) + 1)).tolist()
        assert at == sorted(at)
        assert at[-1] == len(text)
        for first, end in pairwise(sorted(set(at))):
            assert tidy(text[first:end]) == clean.text[at.index(first) : at.index(end)]

    @given(st.text(max_size=60))
    def test_tidy_text_stays_as_it_is(self, text: str) -> None:
        assert tidy(tidy(text)) == tidy(text)


class TestSentences:
    def test_sentences_of_korean(self) -> None:
        assert written("서울은 수도이다. 인구는 많다! 3.14는 원주율이죠?\n\n끝") == [
            "서울은 수도이다.",
            "인구는 많다!",
            "3.14는 원주율이죠?",
            "끝",
        ]

    def test_a_sentence_has_its_own_terms_and_no_others(self) -> None:
        text = "사과가 있다. 배는 크다."
        apart = [found.terms for part in ("사과가 있다.", "배는 크다.") for found in spans(part)]
        assert [found.terms for found in spans(text)] == apart

    @settings(max_examples=150, deadline=None)
    @given(WILDER, st.none() | st.builds(Chunking, max_chars=st.just(50), max_tokens=st.none() | st.just(16)))
    def test_every_character_lies_in_one_sentence(self, text: str, chunking: Chunking | None) -> None:
        found = spans(text, chunking)
        assert all(before.end <= after.start for before, after in pairwise(found))
        covered = {at for one in found for at in range(one.start, one.end)}
        assert {at for at, character in enumerate(text) if tidy(character).strip()} <= covered
        for one in found:
            assert text[one.start : one.end] == text[one.start : one.end].strip() != ""
            if chunking:
                assert one.end - one.start <= chunking.max_chars
                assert one.tokens <= (chunking.max_tokens or one.tokens)

    @settings(max_examples=60, deadline=None)
    @given(WILDER)
    def test_cutting_loses_no_term(self, text: str) -> None:
        whole, cut = (
            sorted(term for one in spans(text, chunking) for term in one.terms)
            for chunking in (None, Chunking(max_chars=50, max_tokens=16))
        )
        assert whole == cut

    def test_a_text_of_many_windows_keeps_its_offsets(self) -> None:
        found = written("나는 학교에 갔다. " * (WINDOW_CHARS // 3))
        assert found == ["나는 학교에 갔다."] * (WINDOW_CHARS // 3)

    def test_decomposed_text_keeps_its_offsets(self) -> None:
        text = unicodedata.normalize("NFD", "서울은 수도이다. 부산은 항구이다.")
        assert [unicodedata.normalize("NFC", part) for part in written(text)] == [
            "서울은 수도이다.",
            "부산은 항구이다.",
        ]

    def test_text_with_what_nobody_sees_keeps_its_offsets(self) -> None:
        text = "\u200b하\u00ad자는 ①이다.\u2060 한빛은 ３㎏이다.\u200b"
        assert written(text) == ["\u200b하\u00ad자는 ①이다.\u2060", "한빛은 ３㎏이다.\u200b"]

    @given(WILDER)
    def test_offsets_rise_from_the_beginning_to_the_end(self, text: str) -> None:
        found = tidied(text)
        offsets = found.original(np.arange(len(found.text) + 1)).tolist()
        assert offsets == sorted(offsets)
        assert offsets[-1] == len(text)
        assert offsets[0] == 0 or not found.text
        assert tidy(found.text) == found.text

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("unit", ["\u0327\u0301", "\uff9e\u0334", "가\u200b", "①", "\u1100\u1161", "\U000e0100"])
    def test_a_megabyte_of_anything_is_tidied_at_once(self, unit: str) -> None:
        """Code that is quadratic in a run would take minutes."""
        assert tidied("가" + unit * 300_000).text.startswith("가")

    def test_a_row_of_a_table_is_a_sentence(self) -> None:
        table = "이름 | 설명 | 값\n사과 | 과일이다. 맛있다. | 3\n배 | 물이 많다. | 4"
        assert written(f"표는 다음과 같다.\n{table}\n이상이다.", CHUNKING) == [
            "표는 다음과 같다.",
            *table.split("\n"),
            "이상이다.",
        ]

    def test_a_row_longer_than_a_chunk_is_cut_like_text(self) -> None:
        row = "이름 | " + "이 사과는 아주 맛있다. " * 9
        assert all(len(part) <= 50 for part in written(row, Chunking(max_chars=50)))

    def test_a_long_sentence_is_cut_at_lines_then_blanks_then_morphemes(self) -> None:
        lines = ["사과나무" * 10, "배나무 " * 30, "감나무" * 40]
        found = written("\n".join(lines), Chunking(max_chars=50))
        assert found[0] == lines[0]
        assert all(part.startswith("배나무") and part.endswith("배나무") for part in found if "배" in part)
        assert [part for part in found if "감" in part] == ["감나무" * 16] * 2 + ["감나무" * 8]

    def test_a_sentence_of_many_morphemes_is_cut(self) -> None:
        found = spans("사과와 배와 감과 귤과 " * 20, Chunking(max_tokens=16))
        assert all(0 < one.tokens <= 16 for one in found)
        assert sum(one.tokens for one in found) == sum(one.tokens for one in spans("사과와 배와 감과 귤과 " * 20))


def test_a_text_in_any_alphabet_is_found_by_its_own_words() -> None:
    for text in ("שלום עולם", "Ünïcödé straße", "大韓民國 憲法", "😀 emoji 👩‍👩‍👧", "ᄀᆞᆷ 옛말"):
        (vector,) = encoded(text)
        assert shared(asked(text), vector) > 0
