"""HWP and HWPX: what is read of them, by which engine, and what is refused."""

import struct
import zipfile
import zlib
from pathlib import Path

import olefile
import pytest
from hwpx import HwpxDocument

from tests.contract.reading import files, read, refusal
from tests.documents import SAMPLES, write_hangul
from tests.hangul_files import distributed, with_unknown_control, write_hwpx

__all__ = ["files"]


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
