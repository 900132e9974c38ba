"""PDF and DOCX: what is read of them, in which order, and what is refused."""

import contextlib
import zipfile
from pathlib import Path

import docx
import msoffcrypto.format.ooxml
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from lxml.etree import XMLSyntaxError

from tests.contract.reading import files, read, refusal
from tests.documents import KOREAN, SAMPLES, pdf_canvas, write_pdf

__all__ = ["files"]


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
