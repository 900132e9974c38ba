"""What every stage relies on from the parsers: text, headings, tables and pages, whatever the format."""

import contextlib
import io
import unicodedata
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.documents.encodings import decode, looks_binary
from infra.documents.files import read_file
from infra.documents.parser import MAX_FILE_BYTES, IsolatedDocumentParser
from infra.settings import ParserSettings
from schemas.errors import DocumentRefused
from schemas.requester import Requester
from schemas.retrieval import SubmittedText
from schemas.topics import Lane
from tests.contract.reading import files, parse, read, refusal
from tests.documents import SAMPLES, lines, write_docx

__all__ = ["files"]


SOMEBODY = Requester("t", Lane.BULK)


DOCUMENTS = ["txt", "txt-cp949", "md", "html", "pdf", "docx", "hwp", "hwpx"]


@pytest.fixture(scope="module")
async def parser() -> AsyncIterator[IsolatedDocumentParser]:
    made = IsolatedDocumentParser(ParserSettings(processes=1))
    yield made
    await made.close()


class TestEveryFormat:
    @pytest.mark.parametrize("kind", DOCUMENTS)
    async def test_text_and_table_are_read(
        self, parser: IsolatedDocumentParser, files: dict[str, Path], kind: str
    ) -> None:
        parsed = await parser.parse_file(files[kind], format=None, filename=files[kind].name, by=SOMEBODY)
        written = SAMPLES[kind]
        assert all(text in parsed.text for text in (*written.texts, *written.headings))
        assert f"\n{lines(written.table)}" in parsed.text
        assert parsed.text == parsed.text.strip()

    @pytest.mark.parametrize("kind", DOCUMENTS[2:])
    def test_headings_say_where_they_begin(self, files: dict[str, Path], kind: str) -> None:
        parsed = read(files[kind])
        assert [heading.text for heading in parsed.headings][-2:] == SAMPLES[kind].shown
        for heading in parsed.headings:
            assert parsed.text.startswith(heading.text, heading.start)

    @pytest.mark.parametrize("kind", ["md", "html", "pdf", "docx"])
    def test_the_title_is_the_documents_own(self, files: dict[str, Path], kind: str) -> None:
        assert read(files[kind]).title == SAMPLES[kind].title

    @pytest.mark.parametrize("kind", ["hwp", "hwpx"])
    def test_the_first_heading_is_the_title_of_a_document_without_one(self, files: dict[str, Path], kind: str) -> None:
        assert read(files[kind]).title == SAMPLES[kind].shown[0]

    @pytest.mark.parametrize("kind", DOCUMENTS[4:])
    @pytest.mark.parametrize("name", ["wrong.txt", "wrong.docx", "wrong.pdf", "strange.xyz", "none"])
    def test_content_decides_whatever_the_name_says(self, files: dict[str, Path], kind: str, name: str) -> None:
        assert SAMPLES[kind].texts[1] in read(files[kind], "text", name).text

    @pytest.mark.parametrize("kind", DOCUMENTS)
    def test_more_text_than_allowed_is_refused(self, files: dict[str, Path], kind: str) -> None:
        with refusal("document_too_large"):
            read_file(files[kind], format=None, filename=files[kind].name, max_chars=50)

    @pytest.mark.parametrize("kind", DOCUMENTS[4:])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    async def test_half_a_file_is_refused(
        self, parser: IsolatedDocumentParser, files: dict[str, Path], tmp_path: Path, kind: str, share: float
    ) -> None:
        data = files[kind].read_bytes()
        (tmp_path / "half").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DocumentRefused) as caught:
            await parser.parse_file(tmp_path / "half", format=None, filename=files[kind].name, by=SOMEBODY)
        assert caught.value.reason in {"document_damaged", "document_no_text"}

    @pytest.mark.parametrize("kind", DOCUMENTS[4:])
    async def test_a_damaged_file_is_text_or_a_refusal(
        self, parser: IsolatedDocumentParser, files: dict[str, Path], tmp_path: Path, kind: str
    ) -> None:
        data = bytearray(files[kind].read_bytes())
        for start in range(0, len(data), max(1, len(data) // 20)):
            damaged = data[:]
            damaged[start : start + 16] = bytes(byte ^ 0x5A for byte in damaged[start : start + 16])
            (tmp_path / "damaged").write_bytes(damaged)
            with contextlib.suppress(DocumentRefused):
                parsed = await parser.parse_file(tmp_path / "damaged", format=None, filename=None, by=SOMEBODY)
                assert parsed.text.strip()


class TestDetection:
    @pytest.mark.parametrize(
        ("data", "filename"),
        [
            (b"\x89PNG\r\n\x1a\n" + bytes(50), "a.txt"),
            (b"{\\rtf1 text}", "a.docx"),
            (b"HWP Document File V3.00 \x1a\x01", "a.hwp"),
            (bytes(range(32)) * 9, None),
            (b"a,b\n1,2\n", "a.csv"),
            (b"\x1f\x8b\x08" + bytes(50), "a.gz"),
        ],
    )
    def test_other_formats_are_refused(self, tmp_path: Path, data: bytes, filename: str | None) -> None:
        (tmp_path / "a").write_bytes(data)
        with refusal("document_format_unknown"):
            read(tmp_path / "a", filename=filename)

    @pytest.mark.parametrize("member", ["xl/workbook.xml", "ppt/presentation.xml", "a.txt"])
    def test_other_archives_are_refused(self, tmp_path: Path, member: str) -> None:
        with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
            archive.writestr(member, "가")
        with refusal("document_format_unknown"):
            read(tmp_path / "a.docx")

    def test_another_programs_compound_file_is_refused(self, tmp_path: Path, files: dict[str, Path]) -> None:
        data = files["hwp"].read_bytes().replace("FileHeader".encode("utf-16-le"), "OtherHeads".encode("utf-16-le"))
        (tmp_path / "a.doc").write_bytes(data)
        with refusal("document_format_unknown"):
            read(tmp_path / "a.doc")

    def test_a_page_saved_as_a_word_document_is_a_page(self, tmp_path: Path) -> None:
        (tmp_path / "a.doc").write_text("\n<!-- 내보냄 --><html><body><h1>머리</h1><p>가</body></html>")
        assert read(tmp_path / "a.doc").text == "머리\n\n가"

    def test_a_text_named_as_a_pdf_by_its_owner_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("글이다")
        with refusal("document_format_unknown"):
            read(tmp_path / "a.txt", "pdf")

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.pdf").touch()
        with refusal("document_empty"):
            read(tmp_path / "a.pdf")

    async def test_a_file_that_is_too_large_is_not_read(self, parser: IsolatedDocumentParser, tmp_path: Path) -> None:
        with (tmp_path / "a.pdf").open("wb") as file:
            file.truncate(MAX_FILE_BYTES + 1)
        with refusal("document_too_large"):
            await parser.parse_file(tmp_path / "a.pdf", format=None, filename="a.pdf", by=SOMEBODY)

    @settings(max_examples=60)
    @given(st.binary(max_size=400), st.sampled_from(["text", "markdown", "html", "pdf", None]))
    def test_any_bytes_give_clean_text_or_a_refusal(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str | None
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "any"
        path.write_bytes(data)
        with contextlib.suppress(DocumentRefused):
            text = read(path, kind).text
            assert text == text.strip() != ""
            assert not set(text) & {"\x00", "\r"}
            text.encode()


class TestTexts:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949", "euc-kr"])
    def test_korean_encodings(self, tmp_path: Path, encoding: str) -> None:
        (tmp_path / "a.txt").write_bytes("안녕하세요, 대한민국 123".encode(encoding))
        assert read(tmp_path / "a.txt").text == "안녕하세요, 대한민국 123"

    @pytest.mark.parametrize(
        "text",
        [
            "┌──┬──┐\n│구분│금액│\n├──┼──┤\n│교통│오만│\n└──┴──┘\n",
            "※ 주의 ★★★ ☎ 02-123-4567 ■ 신청 □ 접수 ○ 심사 → 완료 ㈜가 ㎡ ℃",
            "면적 ㎡ 기온 ℃ 농도 ㎎/ℓ 각도 ± × ÷ ≤ ≥ ∞",
            "ＡＢＣ　주식회사　１２３４",
            "■■■ ※※※ ──── ▶ ⓐ ① 별표",
            "┏━━┓ ㎏ ½ ㉠ →",
            "홍길동",
            "大韓民國 憲法 第一條: 大韓民國은 民主共和國이다.",
        ],
    )
    def test_signs_speak_for_no_encoding(self, text: str) -> None:
        assert decode(text.encode("cp949")) == text

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("中国人民的生活水平不断提高，我们是一个大家庭。今天天气很好，我们去公园散步吧。", "gb18030"),
            ("今日は天気がよいので、公園を散歩します。とても楽しいです。", "euc_jp"),
            ("今日は天気がよいので、公園を散歩します。とても楽しいです。", "cp932"),
        ],
    )
    def test_neighbours_are_not_read_as_korean(self, text: str, encoding: str) -> None:
        assert decode(text.encode(encoding)) == text

    def test_an_html_page_may_declare_its_encoding(self) -> None:
        assert decode("<meta charset=EUC-KR><p>ABC 가</p>".encode("euc-kr"), html=True).endswith("ABC 가</p>")

    def test_western_legacy_is_not_read_as_korean(self) -> None:
        assert decode("déjà vu à la carte, café crème".encode("cp1252")) == "déjà vu à la carte, café crème"

    def test_damaged_utf8_is_refused_not_guessed(self) -> None:
        data = "우리는 민족 중흥의 역사적 사명을 띠고 이 땅에 태어났다".encode()
        with refusal("document_undecodable"):
            decode(data[:20] + b"\xff\xfe" + data[22:])

    def test_bytes_that_no_encoding_explains_are_refused(self) -> None:
        with refusal("document_undecodable"):
            decode(bytes(range(128, 256)) * 5)

    def test_a_stray_nul_does_not_make_text_binary(self) -> None:
        assert not looks_binary(b"a" * 500 + b"\x00")

    @pytest.mark.parametrize(
        "text", ["😀👩‍👩‍👧 웃음", "漢字와 한글", "ㅋㅋㅋㅏ", "ᄀᆞᆷ", "مرحبا שלום \u202bعربي\u202c", "\u200b보이지 않음"]
    )
    def test_every_script_survives(self, text: str) -> None:
        assert parse(text).text == unicodedata.normalize("NFC", text)

    def test_text_is_normalised(self) -> None:
        given = "\ufeff" + unicodedata.normalize("NFD", "각") + "\r\n나\x00\ud800\x0c다 "
        assert parse(given).text == "각\n나\ufffd\n다"

    async def test_a_sentence_of_a_megabyte_is_a_document(self, parser: IsolatedDocumentParser, tmp_path: Path) -> None:
        sentence = "등대는 " + "밝고 " * 300_000 + "높다."
        (tmp_path / "a.txt").write_text(sentence, encoding="utf-8")
        assert (
            await parser.parse_file(tmp_path / "a.txt", format=None, filename="a.txt", by=SOMEBODY)
        ).text == sentence
        assert [one.text for one in await parser.parse_texts([SubmittedText(sentence)], by=SOMEBODY)] == [sentence]

    @pytest.mark.parametrize("text", ["", " \n\t", "\x00\x00", "\ufeff"])
    def test_empty_documents_are_refused(self, text: str) -> None:
        with refusal("document_empty"):
            parse(text)

    def test_a_submitted_text_is_of_no_binary_format(self) -> None:
        with refusal("document_format_unknown"):
            parse("글", "docx")


def test_memory_is_not_needed_for_a_table_of_blanks(tmp_path: Path) -> None:
    """A small file that compresses well is not a bomb."""
    document = docx.Document()
    document.add_table(60, 40)
    document.add_paragraph("끝")
    buffer = io.BytesIO()
    document.save(buffer)
    (tmp_path / "a.docx").write_bytes(buffer.getvalue())
    assert read(tmp_path / "a.docx").text == "끝"
    write_docx(tmp_path / "b.docx", SAMPLES["docx"])
    assert SAMPLES["docx"].texts[0] in read(tmp_path / "b.docx").text
