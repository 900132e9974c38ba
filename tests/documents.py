"""Makes sample files of every format: each has its own made-up subject, so that a question has one right file."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import docx
import pyarrow as pa
import pyarrow.parquet as pq
from hwpx import HwpxDocument
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

KOREAN: Final = "HYSMyeongJo-Medium"


@dataclass(frozen=True)
class Sample:
    """A document of two sections, each on its own page if the format has pages, and a table in the second.

    `answer`, in the second section, answers `question`. `numbers` are those that the program itself puts before the
    headings.
    """

    title: str
    headings: tuple[str, str]
    texts: tuple[str, str]
    table: tuple[tuple[str, ...], ...]
    question: str
    answer: str
    numbers: tuple[str, str] = ("", "")

    @property
    def shown(self) -> list[str]:
        """The headings as a reader sees them."""
        return [number + heading for number, heading in zip(self.numbers, self.headings, strict=True)]


def sample(name: str, place: str, keeper: str, height: str, year: str) -> Sample:
    """A sample about a lighthouse that does not exist."""
    return Sample(
        title=f"{name} 등대 안내서",
        headings=("제1장 유래", "제2장 시설"),
        texts=(
            f"{name} 등대는 {place}의 절벽 위에 서 있다. {year}년에 처음 불을 밝혔다.",
            f"{name} 등대의 탑은 높이가 {height}미터이다. 등대지기는 {keeper}이다.",
        ),
        table=(("시설", "수량", "점검"), ("등명기", "2대", "매월"), ("무적", "1대", "분기")),
        question=f"{name} 등대의 탑은 높이가 얼마인가요?",
        answer=f"{height}미터",
    )


SAMPLES: Final[dict[str, Sample]] = {
    "txt": sample("가람곶", "북쪽 해안", "노을진", "21", "1911"),
    "txt-cp949": sample("나리섬", "남쪽 섬", "윤슬기", "22", "1912"),
    "md": sample("다솜항", "동쪽 포구", "한바다", "23", "1913"),
    "html": sample("라온만", "서쪽 만", "구름별", "24", "1914"),
    "pdf": sample("마루끝", "곶의 끝", "민들레", "25", "1915"),
    "docx": sample("바람목", "해협", "서리풀", "26", "1916"),
    "hwp": replace(sample("사월포", "모래톱", "이슬비", "27", "1917"), numbers=("1. ", "2. ")),
    "hwpx": replace(sample("아라뱃", "운하 어귀", "정하늘", "28", "1918"), numbers=("1. ", "2. ")),
    "tsv": sample("자작골", "호수", "최솔빛", "29", "1919"),
    "csv": sample("차오름", "분화구", "강마루", "31", "1921"),
    "jsonl": sample("카라반", "사구", "임초롱", "32", "1922"),
    "parquet": sample("타래섬", "군도", "오가온", "33", "1923"),
}
"""The sample for each kind of file. The last four are corpora of two rows with `id`, `title`, `text` and `year`."""


def sample_files(folder: Path) -> dict[str, Path]:
    """Write one file of each kind in `SAMPLES` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{kind}.{kind.partition('-')[0]}" for kind in SAMPLES}
    for kind, path in paths.items():
        match kind:
            case "txt":
                path.write_text(plain(SAMPLES[kind]), encoding="utf-8")
            case "txt-cp949":
                path.write_bytes(plain(SAMPLES[kind]).encode("cp949"))
            case "md":
                path.write_text(markdown(SAMPLES[kind]), encoding="utf-8")
            case "html":
                path.write_text(html(SAMPLES[kind]), encoding="utf-8")
            case "pdf":
                write_pdf(path, SAMPLES[kind])
            case "docx":
                write_docx(path, SAMPLES[kind])
            case "hwp" | "hwpx":
                write_hangul(path, SAMPLES[kind])
            case _:
                write_corpus(path, rows(SAMPLES[kind]))
    return paths


def lines(table: Sequence[Sequence[str]]) -> str:
    """A table in the form that every parser returns."""
    return "\n".join(" | ".join(row) for row in table)


def plain(given: Sample) -> str:
    """The sample as plain text."""
    first, second = (f"{heading}\n\n{text}" for heading, text in zip(given.headings, given.texts, strict=True))
    return f"{given.title}\n\n{first}\n\n{second}\n\n{lines(given.table)}\n"


def markdown(given: Sample) -> str:
    """The sample as Markdown."""
    head, *body = given.table
    table = "\n".join(["|".join(head), "|".join("---" for _ in head), *("|".join(row) for row in body)])
    first, second = (f"## {heading}\n\n{text}" for heading, text in zip(given.headings, given.texts, strict=True))
    return f"# {given.title}\n\n{first}\n\n{second}\n\n{table}\n"


def html(given: Sample) -> str:
    """The sample as an HTML page."""
    body = "".join(
        f"<section><h2>{heading}</h2><p>{text}</p></section>"
        for heading, text in zip(given.headings, given.texts, strict=True)
    )
    cells = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in given.table)
    return (
        f"<!doctype html><html lang=ko><head><meta charset=utf-8><title>{given.title}</title></head>"
        f"<body><nav>처음으로</nav><h1>{given.title}</h1>{body}<table>{cells}</table></body></html>"
    )


def write_pdf(path: Path, given: Sample, *, outline: bool = True, password: str | None = None) -> None:
    """Write two pages in a Korean CID font, with bookmarks unless `outline` is false."""
    pages: list[list[tuple[int, str | tuple[str, ...]]]] = [
        [(18, given.title), (14, given.headings[0]), (10, given.texts[0])],
        [(14, given.headings[1]), (10, given.texts[1]), *((10, row) for row in given.table)],
    ]
    canvas = pdf_canvas(path, password=password)
    canvas.setTitle(given.title)
    for number, written in enumerate(pages):
        y = A4[1] - 80
        for size, text in written:
            canvas.setFont(KOREAN, size)
            for column, cell in enumerate([text] if isinstance(text, str) else text):
                canvas.drawString(60 + 140 * column, y, cell)
            if isinstance(text, str) and outline and text in given.headings:
                canvas.bookmarkHorizontal(f"heading{number}", 60, y + size)
                canvas.addOutlineEntry(text, f"heading{number}", level=0)
            y -= size * 2.4
        canvas.showPage()
    canvas.save()


def pdf_canvas(path: Path, *, password: str | None = None) -> Canvas:
    """An empty PDF to draw on, with the Korean font registered."""
    pdfmetrics.registerFont(UnicodeCIDFont(KOREAN))
    return Canvas(str(path), pagesize=A4, encrypt=password)


def write_docx(path: Path, given: Sample) -> None:
    """Write a file with core properties, heading styles and a table."""
    document = docx.Document()
    document.core_properties.title = given.title
    document.add_heading(given.headings[0], level=1)
    document.add_paragraph(given.texts[0])
    document.add_heading(given.headings[1], level=1)
    document.add_paragraph(given.texts[1])
    table = document.add_table(len(given.table), len(given.table[0]))
    for cells, row in zip(table.rows, given.table, strict=True):
        for cell, text in zip(cells.cells, row, strict=True):
            cell.text = text
    document.save(str(path))


def write_hangul(path: Path, given: Sample) -> None:
    """Write HWP or HWPX, depending on the extension, with outline styles and a table."""
    document = HwpxDocument.new()
    for heading, text in zip(given.headings, given.texts, strict=True):
        document.add_heading(heading, level=1)
        document.add_paragraph(text, style="바탕글")
    table = document.add_table(len(given.table), len(given.table[0]))
    for number, row in enumerate(given.table):
        for column, text in enumerate(row):
            table.set_cell_text(number, column, text)
    document.save_to_path(str(path))


def rows(given: Sample) -> list[dict[str, Any]]:
    """A corpus of two documents, one for each section."""
    return [
        {"id": f"{given.title[:3]}-{number}", "title": heading, "text": text, "year": 1900 + number}
        for number, (heading, text) in enumerate(zip(given.headings, given.texts, strict=True), start=1)
    ]


def write_corpus(path: Path, given: Sequence[dict[str, Any]]) -> None:
    """Write a table of documents as TSV, CSV, JSON Lines or Parquet, depending on the extension."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(given)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(given[0]), dialect="excel-tab" if path.suffix == ".tsv" else "excel")
            writer.writeheader()
            writer.writerows(given)
