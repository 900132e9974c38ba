"""Markdown and HTML: what is text of a page, and what is not."""

import contextlib
import unicodedata

import pytest

from infra.documents.detection import text_format
from infra.documents.draft import MAX_TITLE_CHARS, Cell, Draft, table_text
from schemas.errors import DocumentRefused
from tests.contract.reading import MAX_CHARS, parse, refusal


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
