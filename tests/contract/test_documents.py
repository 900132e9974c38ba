"""What every stage relies on from the parsers: text, headings, tables and pages of each format, and clear refusals."""

import contextlib
import io
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docx
import msoffcrypto.format.ooxml
import olefile
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hwpx import HwpxDocument
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml.etree import XMLSyntaxError

from infra.documents.detection import text_format
from infra.documents.draft import MAX_TITLE_CHARS, Cell, Draft, table_text
from infra.documents.encodings import decode, looks_binary
from infra.documents.files import read_file
from infra.documents.parser import MAX_FILE_BYTES, IsolatedDocumentParser
from infra.documents.refusals import REMEDIES
from infra.documents.text import read_text
from infra.settings import ParserSettings
from schemas.errors import DocumentRefused
from schemas.requester import Requester
from schemas.retrieval import ParsedDocument, SubmittedText
from schemas.topics import Lane
from tests.documents import KOREAN, SAMPLES, lines, pdf_canvas, sample_files, write_docx, write_hangul, write_pdf
from tests.hangul_files import distributed, with_unknown_control, write_hwpx

MAX_CHARS = 10_000_000
SOMEBODY = Requester("t", Lane.BULK)
DOCUMENTS = ["txt", "txt-cp949", "md", "html", "pdf", "docx", "hwp", "hwpx"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return sample_files(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
async def parser() -> AsyncIterator[IsolatedDocumentParser]:
    made = IsolatedDocumentParser(ParserSettings(processes=1))
    yield made
    await made.close()


def read(path: Path, format: str | None = None, filename: str | None = None) -> ParsedDocument:
    return read_file(path, format=format, filename=filename or path.name, max_chars=MAX_CHARS)


def parse(text: str, format: str | None = None, filename: str | None = None) -> ParsedDocument:
    return read_text(text, text_format(format, filename), MAX_CHARS)


@contextlib.contextmanager
def refusal(code: str) -> Iterator[None]:
    """The block must be refused with this code and a remedy."""
    with pytest.raises(DocumentRefused) as caught:
        yield
    assert caught.value.reason == code, caught.value.message
    assert caught.value.message.endswith(REMEDIES[code])


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


class TestPdf:
    def test_pages_begin_where_their_text_begins(self, files: dict[str, Path]) -> None:
        parsed = read(files["pdf"])
        first, second = parsed.pages
        assert first == 0
        assert parsed.text[second:].startswith(SAMPLES["pdf"].headings[1])

    def test_large_lines_are_headings_where_there_are_no_bookmarks(self, tmp_path: Path) -> None:
        canvas = pdf_canvas(tmp_path / "a.pdf")
        for size, y, text in [
            (20, 760, "규정집"),
            (14, 720, "제1조 목적"),
            *((10, 700 - 30 * n, "본문이다. " * 9) for n in range(9)),
        ]:
            canvas.setFont(KOREAN, size)
            canvas.drawString(60, y, text)
        canvas.save()
        parsed = read(tmp_path / "a.pdf")
        assert [(heading.level, heading.text) for heading in parsed.headings] == [(1, "규정집"), (2, "제1조 목적")]
        assert parsed.title == "규정집"

    def test_lines_that_were_wrapped_are_one_paragraph_again(self, tmp_path: Path) -> None:
        canvas = pdf_canvas(tmp_path / "a.pdf")
        canvas.setFont(KOREAN, 10)
        written = [
            "한국의 등대는 바닷길을 밝히는 시설로서 밤에 다니는 배가 길을 찾도록 ",
            "돕는다. 무인 등대가 늘고 있으나 큰 곶과 섬에는 아직 사람이 지키는 등",
            "대가 남아 있다.",
            "다음 문단이다.",
        ]
        for line, y in zip(written, (700, 684, 668, 600), strict=True):
            canvas.drawString(60, y, line)
        canvas.save()
        assert read(tmp_path / "a.pdf").text == "".join(written[:3]) + "\n\n" + written[3]

    def test_a_page_without_text_keeps_its_number(self, tmp_path: Path) -> None:
        canvas = pdf_canvas(tmp_path / "a.pdf")
        for text in ("첫째 쪽", "", "셋째 쪽", ""):
            canvas.setFont(KOREAN, 10)
            canvas.drawString(60, 700, text)
            canvas.showPage()
        canvas.save()
        parsed = read(tmp_path / "a.pdf")
        assert parsed.text == "첫째 쪽\n\n셋째 쪽"
        assert list(parsed.pages) == [0, 6, 6, 10]

    def test_glyphs_mapped_to_wrong_characters_are_garbled(self, tmp_path: Path) -> None:
        canvas = pdf_canvas(tmp_path / "a.pdf")
        canvas.setFont(KOREAN, 10)
        for number, line in enumerate(
            (
                "갇갱겉곈괏군귁긷깨껐꼼꾜뀁끼낯넌녁놘눌늑닝댑덴돔둣듦땁떱똬뜩란럇렴뢰뤘릊맣멉몫묠",
                "뮈밌뱄벨봄붊븃빡뺙뽀쁜삿섈셌솝쇳숴슛쌀썸쐈쒼씻앱얻엶옮왯움윔읕잚쟝졈좡줌즐짭쩜쫠",
            )
        ):
            canvas.drawString(60, 700 - 20 * number, line)
        canvas.save()
        with refusal("document_garbled"):
            read(tmp_path / "a.pdf")

    def test_pictures_alone_are_no_text(self, tmp_path: Path) -> None:
        canvas = pdf_canvas(tmp_path / "a.pdf")
        canvas.rect(60, 60, 200, 200, fill=1)
        canvas.save()
        with refusal("document_no_text"):
            read(tmp_path / "a.pdf")

    def test_a_password_is_said(self, tmp_path: Path) -> None:
        write_pdf(tmp_path / "a.pdf", SAMPLES["pdf"], password="비밀".encode().hex())
        with refusal("document_encrypted"):
            read(tmp_path / "a.pdf")

    def test_bookmarks_that_lead_nowhere_change_nothing(self, tmp_path: Path) -> None:
        canvas = pdf_canvas(tmp_path / "a.pdf")
        canvas.setFont(KOREAN, 10)
        canvas.drawString(60, 700, "본문이다.")
        canvas.bookmarkPage("here")
        canvas.addOutlineEntry("다른 이름", "here", level=0)
        canvas.save()
        (heading,) = read(tmp_path / "a.pdf").headings
        assert (heading.start, heading.text) == (0, "다른 이름")


class TestDocx:
    def test_korean_style_names_and_outline_levels_are_headings(self, tmp_path: Path) -> None:
        document = docx.Document()
        style = document.styles.add_style("제목 2", WD_STYLE_TYPE.PARAGRAPH)
        based = document.styles.add_style("우리 제목", WD_STYLE_TYPE.PARAGRAPH)
        based.base_style = style
        document.add_paragraph("하나", style="제목 2")
        document.add_paragraph("둘", style="우리 제목")
        paragraph = document.add_paragraph("셋")
        paragraph._p.get_or_add_pPr().append(parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="2"/>'))
        document.add_paragraph("본문")
        document.save(str(tmp_path / "a.docx"))
        parsed = read(tmp_path / "a.docx")
        assert [(heading.level, heading.text) for heading in parsed.headings] == [(2, "하나"), (2, "둘"), (3, "셋")]

    def test_merged_cells_appear_once_in_each_row(self, tmp_path: Path) -> None:
        document = docx.Document()
        table = document.add_table(3, 3)
        for number, row in enumerate(table.rows):
            for column, cell in enumerate(row.cells):
                cell.text = f"{number}{column}"
        table.cell(1, 0).merge(table.cell(2, 0)).text = "세입"
        table.cell(0, 1).merge(table.cell(0, 2)).text = "금액"
        document.save(str(tmp_path / "a.docx"))
        assert read(tmp_path / "a.docx").text == "00 | 금액\n세입 | 11 | 12\n세입 | 21 | 22"

    def test_automatic_numbers_are_text(self, tmp_path: Path) -> None:
        document = docx.Document()
        numbering = document.part.numbering_part.element
        formats = (("decimal", "제%1조"), ("decimalEnclosedCircle", "%2"), ("ganada", "%3."))
        levels = "".join(
            f'<w:lvl w:ilvl="{at}"><w:start w:val="1"/><w:numFmt w:val="{name}"/>'
            + (f'<w:pStyle w:val="Article{at}"/>' if at == 1 else "")
            + f'<w:lvlText w:val="{text}"/></w:lvl>'
            for at, (name, text) in enumerate(formats)
        )
        numbering.insert(0, parse_xml(f'<w:abstractNum {nsdecls("w")} w:abstractNumId="90">{levels}</w:abstractNum>'))
        for number, override in (
            (90, ""),
            (91, '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride>'),
        ):
            numbering.append(
                parse_xml(f'<w:num {nsdecls("w")} w:numId="{number}"><w:abstractNumId w:val="90"/>{override}</w:num>')
            )
        style = document.styles.add_style("Article1", WD_STYLE_TYPE.PARAGRAPH)
        style.element.append(parse_xml(f'<w:pPr {nsdecls("w")}><w:numPr><w:numId w:val="90"/></w:numPr></w:pPr>'))

        def add(text: str, level: int, number: int = 90) -> None:
            properties = document.add_paragraph(text)._p.get_or_add_pPr()
            properties.append(
                parse_xml(f'<w:numPr {nsdecls("w")}><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')
            )

        add("(목적) 이 계약은", 0)
        add("(대금) 대금은", 0)
        document.add_paragraph("선금은", style="Article1")
        document.add_paragraph("잔금은", style="Article1")
        add("계산서", 2)
        cell = document.add_table(1, 1).cell(0, 0)
        cell.paragraphs[0]._p.get_or_add_pPr().append(
            parse_xml(f'<w:numPr {nsdecls("w")}><w:ilvl w:val="2"/><w:numId w:val="90"/></w:numPr>')
        )
        cell.paragraphs[0].add_run("표 안")
        add("(해지)", 0)
        add("(목적) 부속", 0, 91)
        document.save(str(tmp_path / "a.docx"))
        assert [line for line in read(tmp_path / "a.docx").text.split("\n") if line] == [
            "제1조(목적) 이 계약은",
            "제2조(대금) 대금은",
            "① 선금은",
            "② 잔금은",
            "가. 계산서",
            "나. 표 안",
            "제3조(해지)",
            "제1조(목적) 부속",
        ]

    def test_insertions_and_content_controls_are_read_and_deletions_are_not(self, tmp_path: Path) -> None:
        document = docx.Document()
        body = document.element.body
        control = f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p><w:r><w:t>차례</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        changed = (
            f"<w:p {nsdecls('w')}><w:ins><w:r><w:t>더한 말</w:t></w:r></w:ins>"
            "<w:del><w:r><w:delText>지운 말</w:delText></w:r></w:del><w:r><w:tab/><w:t>끝</w:t></w:r></w:p>"
        )
        for number, element in enumerate((control, changed)):
            body.insert(number, parse_xml(element))
        document.save(str(tmp_path / "a.docx"))
        assert read(tmp_path / "a.docx").text == "차례\n\n더한 말\t끝"

    def test_a_text_box_is_read_once(self, tmp_path: Path) -> None:
        box = "<w:txbxContent><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:txbxContent>"
        names = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
        paragraph = (
            f"<w:p {nsdecls('w')} {names}><w:r><w:t>밖</w:t><mc:AlternateContent>"
            f"<mc:Choice>{box.format('안')}</mc:Choice><mc:Fallback>{box.format('안')}</mc:Fallback>"
            "</mc:AlternateContent></w:r></w:p>"
        )
        document = docx.Document()
        document.element.body.insert(0, parse_xml(paragraph))
        document.save(str(tmp_path / "a.docx"))
        assert read(tmp_path / "a.docx").text == "밖\n\n안"

    def test_pages_are_those_that_word_noted(self, tmp_path: Path) -> None:
        document = docx.Document()
        document.add_paragraph("첫째 쪽")
        second = document.add_paragraph()
        run = second.add_run("둘째 쪽")
        run._r.insert(0, parse_xml(f"<w:lastRenderedPageBreak {nsdecls('w')}/>"))
        document.save(str(tmp_path / "a.docx"))
        assert list(read(tmp_path / "a.docx").pages) == [0, 6]

    def test_a_password_is_said(self, tmp_path: Path, files: dict[str, Path]) -> None:
        with files["docx"].open("rb") as plain, (tmp_path / "a.docx").open("wb") as locked:
            msoffcrypto.format.ooxml.OOXMLFile(plain).encrypt("비밀", locked)
        with refusal("document_encrypted"):
            read(tmp_path / "a.docx")

    def test_a_bomb_is_not_unpacked(self, tmp_path: Path, files: dict[str, Path]) -> None:
        with (
            zipfile.ZipFile(files["docx"]) as source,
            zipfile.ZipFile(tmp_path / "a.docx", "w", zipfile.ZIP_DEFLATED) as bomb,
        ):
            for member in source.infolist():
                if member.filename != "word/document.xml":
                    bomb.writestr(member, source.read(member))
            with bomb.open("word/document.xml", "w", force_zip64=True) as file:
                for _ in range(300):
                    file.write(b" " * 1_000_000)
        with refusal("document_bomb"):
            read(tmp_path / "a.docx")

    @pytest.mark.timeout(60)
    def test_entities_are_not_expanded(self, tmp_path: Path, files: dict[str, Path]) -> None:
        secret = tmp_path / "secret"
        secret.write_text("기밀")
        laughs = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
        for entities, name in (
            (f'<!ENTITY a9 SYSTEM "file://{secret}">', "a9"),
            (f'<!ENTITY a0 "하하">{laughs}', "a9"),
        ):
            xml = (
                f'<?xml version="1.0"?><!DOCTYPE x [{entities}]><w:document {nsdecls("w")}><w:body>'
                f"<w:p><w:r><w:t>앞 &{name}; 뒤</w:t></w:r></w:p></w:body></w:document>"
            )
            with zipfile.ZipFile(files["docx"]) as source, zipfile.ZipFile(tmp_path / "a.docx", "w") as made:
                for member in source.infolist():
                    made.writestr(
                        member, xml.encode() if member.filename == "word/document.xml" else source.read(member)
                    )
            text = ""
            with contextlib.suppress(XMLSyntaxError):
                text = read(tmp_path / "a.docx").text
            assert "기밀" not in text
            assert len(text) < 100


class TestHangul:
    @pytest.mark.parametrize("ending", ["hwp", "hwpx"])
    def test_outline_levels_are_those_of_headings(self, tmp_path: Path, ending: str) -> None:
        document = HwpxDocument.new()
        document.add_heading("제1장", level=1)
        document.add_heading("제1절", level=2)
        document.add_paragraph("본문이다.", style="바탕글")
        document.save_to_path(str(tmp_path / f"a.{ending}"))
        parsed = read(tmp_path / f"a.{ending}")
        assert [(heading.level, heading.text) for heading in parsed.headings] == [
            (1, "1. 제1장"),
            (2, "가. 제1절"),
        ]

    @pytest.mark.parametrize("ending", ["hwp", "hwpx"])
    def test_merged_cells_appear_once_in_each_row(self, tmp_path: Path, ending: str) -> None:
        document = HwpxDocument.new()
        table = document.add_table(3, 3)
        for row in range(3):
            for column in range(3):
                table.set_cell_text(row, column, f"{row}{column}")
        table.merge_cells(1, 0, 2, 0)
        document.save_to_path(str(tmp_path / f"a.{ending}"))
        assert read(tmp_path / f"a.{ending}").text == "00 | 01 | 02\n10 20 | 11 | 12\n10 20 | 21 | 22"

    def test_automatic_numbers_are_text(self, tmp_path: Path) -> None:
        levels = "".join(
            f'<hh:paraHead start="1" level="{at}" numFormat="{name}">{text}</hh:paraHead>'
            for at, name, text in ((1, "DIGIT", "제^1조"), (2, "CIRCLED_DIGIT", "^2"), (3, "HANGUL_SYLLABLE", "^1-^3)"))
        )
        properties = "".join(
            f'<hh:paraPr id="{900 + at}"><hh:heading type="NUMBER" idRef="9" level="{at}"/></hh:paraPr>'
            for at in range(3)
        )
        paragraphs = [
            ("(목적) 이 계약은", 0),
            ("", 0),
            ("(대금) 대금은", 0),
            ("선금은", 1),
            ("잔금은", 1),
            ("계산서", 2),
        ]
        body = "".join(
            f'<hp:p paraPrIDRef="{900 + at}"><hp:run><hp:t>{text}</hp:t></hp:run></hp:p>' for text, at in paragraphs
        )
        write_hwpx(tmp_path / "a.hwpx", body, f'<hh:numbering id="9">{levels}</hh:numbering>', properties)
        assert read(tmp_path / "a.hwpx").text.split("\n") == [
            "제1조(목적) 이 계약은",
            "제2조(대금) 대금은",
            "① 선금은",
            "② 잔금은",
            "2-가) 계산서",
        ]

    def test_text_outside_the_lines_is_read_and_hints_are_not(self, tmp_path: Path) -> None:
        def lines_(text: str) -> str:
            return f"<hp:subList><hp:p><hp:run><hp:t>{text}</hp:t></hp:run></hp:p></hp:subList>"

        def field(hint: str, content: str) -> str:
            return (
                '<hp:ctrl><hp:fieldBegin type="CLICK_HERE"><hp:parameters>'
                f'<hp:stringParam name="Direction">{hint}</hp:stringParam></hp:parameters></hp:fieldBegin></hp:ctrl>'
                f"<hp:t>{content}</hp:t><hp:ctrl><hp:fieldEnd/></hp:ctrl>"
            )

        table = (
            f"<hp:tbl><hp:caption>{lines_('표 목록')}</hp:caption><hp:tr>"
            + "".join(
                f'<hp:tc>{lines_(text)}<hp:cellAddr rowAddr="0" colAddr="{at}"/><hp:cellSpan rowSpan="1"/></hp:tc>'
                for at, text in enumerate(("가", "나"))
            )
            + "</hp:tr></hp:tbl>"
        )
        number = '<hp:ctrl><hp:autoNum num="3" numType="PICTURE"/></hp:ctrl>'
        caption = f"<hp:subList><hp:p><hp:run><hp:t>그림 </hp:t>{number}<hp:t> 탑</hp:t></hp:run></hp:p></hp:subList>"
        runs = [
            f"<hp:t>이름: </hp:t>{field('이름을 쓰십시오', '이름을 쓰십시오')}<hp:t>끝</hp:t>",
            field("주소", "서울"),
            f"<hp:t>본문</hp:t><hp:rect><hp:drawText>{lines_('글상자')}</hp:drawText></hp:rect>",
            f"<hp:container><hp:rect><hp:drawText>{lines_('묶음')}</hp:drawText></hp:rect></hp:container>",
            f"<hp:pic><hp:caption>{caption}</hp:caption></hp:pic>",
            '<hp:textart text="글맵시"/>',
            "<hp:dutmal><hp:mainText>하자</hp:mainText><hp:subText>瑕疵</hp:subText></hp:dutmal>",
            f"<hp:t>각주</hp:t><hp:ctrl><hp:footNote>{lines_('아래')}</hp:footNote></hp:ctrl>",
            f"<hp:ctrl><hp:header>{lines_('머리말')}</hp:header></hp:ctrl>",
            f"<hp:ctrl><hp:hiddenComment>{lines_('숨은 설명')}</hp:hiddenComment></hp:ctrl>",
            "<hp:t>남은 <hp:deleteBegin/>지운 <hp:deleteEnd/>말<hp:tab/>뒤</hp:t>",
            table,
        ]
        write_hwpx(tmp_path / "a.hwpx", "".join(f"<hp:p><hp:run>{run}</hp:run></hp:p>" for run in runs))
        assert [line for line in read(tmp_path / "a.hwpx").text.split("\n") if line] == [
            "이름: 끝",
            "서울",
            "본문",
            "글상자",
            "묶음",
            "그림 3 탑",
            "글맵시",
            "하자(瑕疵)",
            "각주",
            "아래",
            "남은 말\t뒤",
            "표 목록",
            "가 | 나",
        ]

    def test_a_distribution_document_is_read(self, tmp_path: Path, files: dict[str, Path]) -> None:
        (tmp_path / "a.hwp").write_bytes(distributed(files["hwp"].read_bytes()))
        assert read(tmp_path / "a.hwp") == read(files["hwp"])

    def test_a_distribution_document_that_cannot_be_opened_is_refused(
        self, tmp_path: Path, files: dict[str, Path]
    ) -> None:
        (tmp_path / "a.hwp").write_bytes(distributed(files["hwp"].read_bytes(), tag=99))
        with refusal("document_distribution"):
            read(tmp_path / "a.hwp")

    def test_what_one_engine_cannot_read_the_other_does(
        self, monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]
    ) -> None:
        def broken(data: bytes) -> None:
            raise ValueError

        monkeypatch.setattr("hwpx.hwp5.package.convert", broken)
        read_by_the_other = read(files["hwp"])
        assert all(text in read_by_the_other.text for text in SAMPLES["hwp"].texts)
        assert read_by_the_other.lost == ["automatic numbers"]

    def test_cells_in_one_place_are_all_kept(self, tmp_path: Path) -> None:
        cells = "".join(
            f"<hp:tc><hp:subList><hp:p><hp:run><hp:t>{text}</hp:t></hp:run></hp:p></hp:subList>"
            f'<hp:cellAddr colAddr="{at}" rowAddr="0"/><hp:cellSpan colSpan="1" rowSpan="1"/></hp:tc>'
            for text, at in (("가나", 0), ("다라", 0), ("마바", 1))
        )
        write_hwpx(tmp_path / "a.hwpx", f"<hp:p><hp:run><hp:tbl><hp:tr>{cells}</hp:tr></hp:tbl></hp:run></hp:p>")
        assert read(tmp_path / "a.hwpx").text.strip() == "가나 다라 | 마바"

    def test_what_an_hwp_file_loses_is_named(self, tmp_path: Path, files: dict[str, Path]) -> None:
        assert read(files["hwp"]).lost == []
        (tmp_path / "a.hwp").write_bytes(with_unknown_control(files["hwp"].read_bytes()))
        document = read(tmp_path / "a.hwp")
        assert SAMPLES["hwp"].texts[0] in document.text
        assert document.lost == ["control-zzzz (1)"]

    @pytest.mark.parametrize("bit", [1, 4, 8])
    def test_a_locked_hwp_is_said(self, tmp_path: Path, bit: int) -> None:
        write_hangul(tmp_path / "a.hwp", SAMPLES["hwp"])
        with olefile.OleFileIO(tmp_path / "a.hwp", write_mode=True) as storage:
            header = bytearray(storage.openstream("FileHeader").read())
            header[36:40] = struct.pack("<I", struct.unpack("<I", header[36:40])[0] | 1 << bit)
            storage.write_stream("FileHeader", bytes(header))
        with refusal("document_encrypted"):
            read(tmp_path / "a.hwp")

    def test_a_locked_hwpx_is_said(self, tmp_path: Path, files: dict[str, Path]) -> None:
        manifest = '<m:manifest xmlns:m="m"><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>'
        with zipfile.ZipFile(files["hwpx"]) as source, zipfile.ZipFile(tmp_path / "a.hwpx", "w") as made:
            for member in source.infolist():
                if member.filename != "META-INF/manifest.xml":
                    made.writestr(member, source.read(member))
            made.writestr("META-INF/manifest.xml", manifest)
        with refusal("document_encrypted"):
            read(tmp_path / "a.hwpx")

    def test_a_bomb_in_a_stream_is_not_unpacked(self, tmp_path: Path) -> None:
        text = "".join(f"{zlib.crc32(str(n).encode()):08x}" for n in range(60_000))
        write_hangul(tmp_path / "a.hwp", SAMPLES["hwp"].__class__("가", ("나", "다"), (text, "라"), (("마",),), "", ""))
        with olefile.OleFileIO(tmp_path / "a.hwp", write_mode=True) as storage:
            size = storage.get_size("BodyText/Section0")
            deflater = zlib.compressobj(9, wbits=-15)
            bomb = deflater.compress(bytes(200_000_000)) + deflater.flush()
            assert len(bomb) <= size
            storage.write_stream("BodyText/Section0", bomb.ljust(size, b"\0"))
        with refusal("document_bomb"):
            read(tmp_path / "a.hwp")


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


class TestMarkdownAndHtml:
    def test_markdown_keeps_headings_lists_and_tables_readable(self) -> None:
        source = "---\nx: 1\n---\n# 제목 *하나*\n\n첫 줄\n이어서 [링크](http://x).\n\n- 가\n- 나\n\n"
        parsed = parse(source + "|이름|값|\n|-|-|\n|a|1|\n", filename="a.md")
        assert parsed.title == "제목 하나"
        assert parsed.text == "제목 하나\n\n첫 줄 이어서 링크.\n\n- 가\n- 나\n\n이름 | 값\na | 1"

    def test_html_drops_noise_and_decodes_entities(self) -> None:
        parsed = parse(
            "<html><head><title>문서 &amp; 제목</title><style>p{}</style></head><body><nav>메뉴</nav>"
            "<h1>머리</h1><script>alert(1)</script><p hidden>숨김</p>"
            "<div>하나<br>둘 <b>셋</b></div><table><tr><td>가<td>나</table>",
            "html",
        )
        assert (parsed.title, parsed.text) == ("문서 & 제목", "머리\n\n하나\n둘 셋\n\n가 | 나")

    def test_a_cell_that_spans_rows_appears_in_each(self) -> None:
        page = (
            "<table><tr><th>구분<th colspan=2>금액<tr><td rowspan=2>세입<td>당초<td>1"
            "<tr><td>추경<td>2<tr><td>세출<td>당초<td rowspan=2>3<tr><td>이월<td>추경</table>"
        )
        assert parse(page, "html").text == (
            "구분 | 금액\n세입 | 당초 | 1\n세입 | 추경 | 2\n세출 | 당초 | 3\n이월 | 추경 | 3"
        )

    def test_headings_of_a_page_are_found_wherever_they_stand(self) -> None:
        decomposed = unicodedata.normalize("NFD", "각 나라")
        parsed = parse(f"<p>{decomposed}<h2> 첫째 <i>장</i> </h2><ul><li><h3>항목</h3>글</ul><h2><img></h2>", "html")
        assert [(heading.level, heading.text) for heading in parsed.headings] == [(2, "첫째 장"), (3, "항목")]
        for heading in parsed.headings:
            assert parsed.text.startswith(heading.text, heading.start)

    @pytest.mark.timeout(20)
    def test_a_page_of_blanks_is_read_in_one_pass(self) -> None:
        blanks = " " * 1_000_000
        page = f"<pre>가{blanks}나</pre><table><tr><td>다<td><td>라</table>"
        assert parse(page, "html").text.split() == list("가나다|라")

    @pytest.mark.timeout(20)
    def test_cells_that_span_rows_do_not_blow_a_page_up(self) -> None:
        page = "<table><tr>" + "<td rowspan=1000>가" * 20_000 + "<tr>" * 20_000 + "</table>"
        with contextlib.suppress(DocumentRefused):
            assert len(parse(page, "html").text) < MAX_CHARS

    def test_the_highest_heading_is_the_title_of_a_page_without_one(self) -> None:
        assert parse("<h2>먼저</h2><h1>머리 <i>말</i></h1>본문", "html").title == "머리 말"

    def test_a_page_nested_deeper_than_python_recurses(self) -> None:
        assert parse("<div>" * 2_000 + "깊다", "html").text == "깊다"
        with refusal("document_too_deep"):
            parse("<div>" * 1_000_000 + "깊다", "html")
        assert parse("<p>가" * 30_000, "html").text.count("가") == 30_000

    @pytest.mark.parametrize("text", ["<i></b>" * 9_000, "<p " + " ".join(f"a{n}='>'" for n in range(9_000)) + ">"])
    def test_what_takes_the_parser_long_is_refused(self, text: str) -> None:
        with refusal("document_too_deep"):
            parse(text + "글", "html")

    @pytest.mark.parametrize(
        ("page", "text"),
        [
            (
                "<form action=x><h1>안내</h1><p>수수료</p><table><tr><td>가<td>나</table></form>",
                "안내\n\n수수료\n\n가 | 나",
            ),
            ("머리<form>마감<input type=hidden value=x></form>바닥", "머리\n\n마감\n\n바닥"),
            ("<article>글<footer>글쓴이</footer></article><footer>주소</footer>", "글\n\n글쓴이"),
            ("<div>글</div><noscript>대신</noscript>", "글\n\n대신"),
            ("<p>글<p hidden>숨김<p hidden=until-found>찾음", "글\n\n찾음"),
            ("<textarea readonly>약관  하나\n둘</textarea><select><option>고름</select>", "약관  하나\n둘"),
            ("<h2><button>질문</button></h2><p>답<button>닫기</button>", "질문\n\n답"),
            ("글<dialog>닫힘</dialog><dialog open>열림</dialog>", "글\n\n열림"),
            ("<nav>길</nav>글", "글"),
            ("<nav>차례 <a>하나</a></nav>", "차례 하나"),
        ],
    )
    def test_what_a_reader_sees_is_read(self, page: str, text: str) -> None:
        assert parse(page, "html").text == text

    @pytest.mark.parametrize(
        ("page", "text"),
        [
            ("<ol start=3><li>가<li value=9>나<li>다</ol>", "3. 가\n9. 나\n10. 다"),
            ("<ol type=i><li><p>가</p><p>나</p><li>다</ol>", "i. 가\n\n나\n\nii. 다"),
            ("<ol reversed><li>가<ul><li>나</ul><li>다</ol>", "2. 가\n\n- 나\n\n1. 다"),
        ],
    )
    def test_numbers_of_lists_are_text(self, page: str, text: str) -> None:
        assert parse(page, "html").text == text

    def test_numbers_of_markdown_are_text(self) -> None:
        assert parse("3. 하나\n4. 둘\n\n   - 셋\n", "markdown").text == "3. 하나\n\n4. 둘\n\n- 셋"

    @pytest.mark.timeout(60)
    def test_comments_before_a_page_take_no_time(self) -> None:
        assert text_format(None, None, b"<!---->" * 9_000 + b"x") == "text"

    @pytest.mark.timeout(60)
    def test_tables_in_tables_take_time_in_line_with_their_number(self) -> None:
        page = ("<table><tr><td rowspan=9>가" * 300 + "</td></tr></table>" * 300) * 30
        assert parse(page, "html").text.count("가") >= 9_000

    def test_a_small_table_does_not_become_a_large_text(self) -> None:
        cells = [Cell(0, column, "가", rows=1_000_000) for column in range(1_000)]
        assert len(table_text([*cells, Cell(1_000_000, 0, "끝")])) < 1_000_000

    def test_titles_are_bounded(self) -> None:
        title = parse(f"<title>{'가' * 900}</title>글", "html").title
        assert title is not None
        assert len(title) == MAX_TITLE_CHARS

    @pytest.mark.parametrize(
        "title", ["Untitled", "문서1", "제목 없음", "Microsoft Word - 보고서.doc", "보고서.hwp", " "]
    )
    def test_a_title_set_by_a_program_does_not_count(self, title: str) -> None:
        assert parse(f"<title>{title}</title>글", "html").title is None

    def test_a_named_format_overrides_the_file_name(self) -> None:
        assert parse("<p>가</p>", "html", "a.txt").text == "가"

    def test_a_page_of_scripts_alone_is_empty(self) -> None:
        with refusal("document_empty"):
            parse("<script>x()</script>", "html")


class TestDraft:
    def test_a_long_cell_that_spans_rows_appears_once(self) -> None:
        long = "가" * 300
        assert table_text([Cell(0, 0, long, rows=2), Cell(0, 1, "나"), Cell(1, 1, "다")]) == f"{long} | 나\n다"

    def test_blank_rows_are_left_out_and_blank_cells_are_not(self) -> None:
        cells = [Cell(0, 0, "가"), Cell(0, 1, ""), Cell(0, 2, "나"), Cell(1, 0, " "), Cell(2, 0, "다"), Cell(2, 1, "")]
        assert table_text(cells) == "가 |  | 나\n다"

    def test_text_too_long_for_a_heading_is_not_one(self) -> None:
        draft = Draft(MAX_CHARS)
        draft.add("가" * 201, level=1)
        assert list(draft.finished().headings) == []


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
