"""What every stage relies on from the Korean text tools: offsets, weights, and surviving any input."""

import contextlib
import math
import threading
import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.text.encodings import decode, looks_binary
from infra.text.kiwi import WINDOW_CHARS, windows
from infra.text.parsing import MAX_TITLE_CHARS, TextParser
from infra.text.sentences import KiwiSentenceSplitter
from infra.text.sparse import KiwiSparseEncoder, term_id
from schemas.errors import DocumentRefused
from schemas.retrieval import SparseVector

ENCODER = KiwiSparseEncoder()
SPLITTER = KiwiSentenceSplitter()
PARSER = TextParser()

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
]


def shared(query: SparseVector, document: SparseVector) -> float:
    weights = dict(zip(document.indices, document.values, strict=True))
    return sum(weights.get(index, 0.0) for index in query.indices)


class TestSparse:
    @pytest.mark.parametrize("text", WILD)
    def test_any_text_gives_a_well_formed_vector(self, text: str) -> None:
        for vector in (*ENCODER.encode_documents([text]), ENCODER.encode_query(text)):
            assert list(vector.indices) == sorted(set(vector.indices))
            assert len(vector.indices) == len(vector.values)
            assert all(0 <= index < 2**32 for index in vector.indices)
            assert all(value > 0 for value in vector.values)

    def test_a_text_without_content_is_empty(self) -> None:
        assert [list(ENCODER.encode_query(text).indices) for text in ("", " \n", "?!…")] == [[], [], []]

    def test_inflected_and_compound_words_meet(self) -> None:
        stored, other = ENCODER.encode_documents(["로마제국은 여러 지방을 다스렸다.", "비글은 넓은 공간에서 뛰어논다."])
        question = ENCODER.encode_query("로마 제국이 다스린 지방은?")
        assert shared(question, stored) > shared(question, other)

    def test_terms_have_the_same_ids_in_every_process(self) -> None:
        assert term_id("m", "한국") == 4291183869
        assert term_id("m", "한국") != term_id("2", "한국")

    def test_composed_and_decomposed_hangul_are_the_same(self) -> None:
        text = "서울특별시 GDP 통계"
        assert ENCODER.encode_query(text) == ENCODER.encode_query(unicodedata.normalize("NFD", text.upper()))

    def test_weights_are_bm25_term_frequencies(self) -> None:
        k1, b, average = 0.9, 0.3, 10.0
        encoder = KiwiSparseEncoder(k1, b, average)
        (vector,) = encoder.encode_documents(["사과 사과 배"])
        length = 3 + 2 + 1  # morphemes; bigrams of 사과 twice; 배 itself
        norm = k1 * (1 - b + b * length / average)
        weights = dict(zip(vector.indices, vector.values, strict=True))
        assert math.isclose(weights[term_id("m", "사과")], 2 * (k1 + 1) / (2 + norm))
        assert math.isclose(weights[term_id("m", "배")], (k1 + 1) / (1 + norm))

    def test_query_weights_are_one_for_each_distinct_term(self) -> None:
        vector = ENCODER.encode_query("사과 사과 배")
        assert set(vector.values) == {1.0}
        assert term_id("m", "사과") in vector.indices

    def test_the_name_tells_every_setting(self) -> None:
        names = {KiwiSparseEncoder(*settings).name for settings in [(0.6,), (0.7,), (0.6, 0.5), (0.6, 0.4, 99)]}
        assert len(names) == 4

    def test_a_batch_equals_its_texts_one_by_one(self) -> None:
        texts = [*(text for text in WILD), "학교에 갔다. " * 3_000]
        assert ENCODER.encode_documents(texts) == [ENCODER.encode_documents([text])[0] for text in texts]

    def test_threads_agree(self) -> None:
        texts = [f"제{n}조 회사는 계약을 해지할 수 있다." for n in range(40)]
        expected = ENCODER.encode_documents(texts)
        found: list[list[SparseVector]] = []
        threads = [threading.Thread(target=lambda: found.append(ENCODER.encode_documents(texts))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [expected] * 4

    def test_a_megabyte_without_a_blank_is_encoded_in_bounded_time(self) -> None:
        began = time.monotonic()
        (vector,) = ENCODER.encode_documents(["대한민국헌법" * 60_000])
        assert vector.indices
        assert time.monotonic() - began < 60


@given(st.text(max_size=3 * 40), st.integers(4, 40))
def test_windows_cover_the_text_without_gap(text: str, size: int) -> None:
    cuts = windows(text, size)
    assert "".join(text[start:end] for start, end in cuts) == text
    assert all(0 < end - start <= size for start, end in cuts)


class TestSentences:
    def test_sentences_of_korean(self) -> None:
        text = "서울은 수도이다. 인구는 많다! 3.14는 원주율이죠?\n\n끝"
        assert [text[s:e] for s, e in SPLITTER.split(text)] == [
            "서울은 수도이다.",
            "인구는 많다!",
            "3.14는 원주율이죠?",
            "끝",
        ]

    @settings(max_examples=60, deadline=None)
    @given(st.text(alphabet="가나다요. ?!\n\x00ㅋa1😀\"'漢\u0301", max_size=200))
    def test_offsets_are_ordered_disjoint_and_lose_nothing(self, text: str) -> None:
        spans = SPLITTER.split(text)
        assert all(s < e for s, e in spans)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
        covered = {at for s, e in spans for at in range(s, e)}
        assert all(at in covered for at, c in enumerate(text) if c.isalnum())

    def test_a_text_of_many_windows_keeps_its_offsets(self) -> None:
        text = "나는 학교에 갔다. " * (WINDOW_CHARS // 3)
        spans = SPLITTER.split(text)
        whole = sum(text[s:e] == "나는 학교에 갔다." for s, e in spans)
        assert whole > 0.98 * (WINDOW_CHARS // 3)


class TestParsing:
    def parse(
        self, data: bytes | str, format: str | None = None, filename: str | None = None
    ) -> tuple[str | None, str]:
        parsed = PARSER.parse(data, format=format, filename=filename)
        return parsed.title, parsed.text

    def refusal(self, data: bytes | str, format: str | None = None, filename: str | None = None) -> str:
        with pytest.raises(DocumentRefused) as caught:
            PARSER.parse(data, format=format, filename=filename)
        return caught.value.reason

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949", "euc-kr"])
    def test_korean_encodings(self, encoding: str) -> None:
        assert self.parse("안녕하세요, 대한민국 123".encode(encoding), filename="a.txt") == (
            None,
            "안녕하세요, 대한민국 123",
        )

    def test_an_html_page_may_declare_its_encoding(self) -> None:
        page = "<meta charset=EUC-KR><p>ABC 가</p>".encode("euc-kr")
        assert self.parse(page, filename="a.html") == (None, "ABC 가")

    def test_western_legacy_is_not_read_as_korean(self) -> None:
        assert decode("déjà vu à la carte, café crème".encode("cp1252")) == "déjà vu à la carte, café crème"

    def test_markdown_keeps_headings_lists_and_tables_readable(self) -> None:
        source = "---\nx: 1\n---\n# 제목 *하나*\n\n첫 줄\n이어서 [링크](http://x).\n\n- 가\n- 나\n\n"
        source += "|이름|값|\n|-|-|\n|a|1|\n"
        assert self.parse(source, filename="a.md") == (
            "제목 하나",
            "제목 하나\n\n첫 줄 이어서 링크.\n\n- 가\n- 나\n\n이름 | 값\na | 1",
        )

    def test_html_drops_noise_and_decodes_entities(self) -> None:
        page = (
            "<html><head><title>문서 &amp; 제목</title><style>p{}</style></head><body><nav>메뉴</nav>"
            "<h1>머리</h1><script>alert(1)</script><p hidden>숨김</p>"
            "<div>하나<br>둘 <b>셋</b></div><table><tr><td>가<td>나</table>"
        )
        assert self.parse(page, filename="a.htm") == ("문서 & 제목", "머리\n\n하나\n둘 셋\n\n가 | 나")

    @pytest.mark.timeout(20)
    def test_a_page_of_blanks_is_read_in_one_pass(self) -> None:
        blanks = " " * 1_000_000
        assert self.parse(f"<pre>가{blanks}나</pre><table><tr><td>다<td><td>라</table>", "html")[1].split() == list(
            "가나다|라"
        )

    def test_the_first_heading_is_the_title_of_a_page_without_one(self) -> None:
        assert self.parse("<h1>머리 <i>말</i></h1>본문", "html")[0] == "머리 말"

    def test_a_page_nested_deeper_than_python_recurses(self) -> None:
        assert self.parse("<div>" * 20_000 + "깊다", "html")[1] == "깊다"
        assert self.refusal("<div>" * 1_000_000 + "깊다", "html") == "document_too_deep"
        assert self.parse("<p>가" * 30_000, "html")[1].count("가") == 30_000

    def test_text_is_normalised(self) -> None:
        assert (
            self.parse("\ufeff" + unicodedata.normalize("NFD", "각") + "\r\n나\x00\ud800\x0c다 ")[1]
            == "각\n나\ufffd\n다"
        )

    def test_titles_are_bounded(self) -> None:
        title, _ = self.parse("# " + "가" * 900, "markdown")
        assert title is not None
        assert len(title) == MAX_TITLE_CHARS

    def test_a_named_format_overrides_the_file_name(self) -> None:
        assert self.parse("<p>가</p>", "html", "a.docx")[1] == "가"

    @pytest.mark.parametrize("data", ["", " \n\t", b"", b"\xef\xbb\xbf", "\x00\x00"])
    def test_empty_documents_are_refused(self, data: bytes | str) -> None:
        assert self.refusal(data) == "document_empty"

    def test_a_page_of_scripts_alone_is_empty(self) -> None:
        assert self.refusal("<script>x()</script>", "html") == "document_empty"

    def test_damaged_utf8_is_refused_not_guessed(self) -> None:
        data = "우리는 민족 중흥의 역사적 사명을 띠고 이 땅에 태어났다".encode()
        assert self.refusal(data[:20] + b"\xff\xfe" + data[22:]) == "document_undecodable"

    def test_bytes_that_no_encoding_explains_are_refused(self) -> None:
        assert self.refusal(bytes(range(128, 256)) * 5) == "document_undecodable"

    @pytest.mark.parametrize(
        ("data", "filename"),
        [(b"%PDF-1.7 x", None), (b"PK\x03\x04zip", "a.txt"), (bytes(range(32)) * 9, None), (b"text", "a.docx")],
    )
    def test_other_formats_are_refused(self, data: bytes, filename: str | None) -> None:
        assert self.refusal(data, filename=filename) == "document_format_unknown"

    @given(st.binary(max_size=400), st.sampled_from(["text", "markdown", "html"]))
    def test_any_bytes_give_clean_text_or_a_refusal(self, data: bytes, kind: str) -> None:
        with contextlib.suppress(DocumentRefused):
            text = PARSER.parse(data, format=kind, filename=None).text
            assert text == text.strip() != ""
            assert not set(text) & {"\x00", "\r"}
            text.encode()

    def test_a_stray_nul_does_not_make_text_binary(self) -> None:
        assert not looks_binary(b"a" * 500 + b"\x00")
