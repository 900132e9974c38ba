"""The upload form: the same parts however the network splits the body, and a refusal wherever it breaks off."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.files.form import MAX_FIELDS, TYPES, Form
from schemas.errors import InvalidInput

BOUNDARY = b"----part"
CONTENT_TYPE = "multipart/form-data; boundary=----part"
# What a parser might mistake for the boundary.
PIECES = [
    b"\r\n",
    b"--",
    b"\r\n--",
    b"----part",
    b"\r\n------part",
    b"\r\n------par",
    b"\n",
    b"\r",
    b"a",
    b"\0",
    "가".encode(),
]


def form(content: bytes, fields: Sequence[tuple[str, str]] = (), late: Sequence[tuple[str, str]] = ()) -> bytes:
    """A form with fields before and after its file."""

    def field(name: str, value: str) -> bytes:
        return b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
            BOUNDARY,
            name.encode(),
            value.encode(),
        )

    file = (
        b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: text/plain\r\n\r\n%b\r\n'
    )
    return (
        b"".join(field(*pair) for pair in fields)
        + file % (BOUNDARY, "이름.txt".encode(), content)
        + b"".join(field(*pair) for pair in late)
        + b"--%b--\r\n" % BOUNDARY
    )


async def received(body: bytes, cuts: Sequence[int] = ()) -> tuple[str | None, str, bytes, dict[str, str]]:
    """File name, media type, content and fields of a body that arrives in pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for start, end in pairwise([0, *sorted(cuts), len(body)]):
            yield body[start:end]

    reader = Form(CONTENT_TYPE, pieces())
    file = await reader.file()
    content = b"".join([piece async for piece in reader.content()])
    await reader.rest()
    return file.filename, file.content_type, content, reader.fields


@st.composite
def cut_forms(draw: st.DrawFn) -> tuple[bytes, bytes, list[int]]:
    """A file's content, the form around it, and where the network splits the form."""
    content = b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=30)))
    if b"\r\n--" + BOUNDARY in b"\r\n" + content:
        content = content.replace(BOUNDARY, b"")
    body = form(content, [("purpose", "시험")], [("late", "x")])
    return content, body, draw(st.lists(st.integers(0, len(body)), max_size=40))


@given(cut_forms())
async def test_any_cutting_of_a_form_gives_the_same_parts(given: tuple[bytes, bytes, list[int]]) -> None:
    content, body, cuts = given
    assert await received(body, cuts) == ("이름.txt", "text/plain", content, {"purpose": "시험", "late": "x"})


async def test_a_form_that_comes_byte_by_byte_is_read() -> None:
    body = form(b"--\r\n----part\r\n--", [("purpose", "p")])
    assert (await received(body, range(1, len(body))))[2] == b"--\r\n----part\r\n--"


async def test_a_form_that_breaks_off_anywhere_is_refused() -> None:
    body = form(b"hello", [("purpose", "p")], [("late", "x")])
    whole = len(body) - len(b"\r\n")  # the last line break may be missing
    for end in range(whole):
        with pytest.raises(InvalidInput):
            await received(body[:end])
    assert (await received(body[:whole]))[2] == b"hello"


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=b", CONTENT_TYPE + "b" * 300],
)
async def test_what_is_no_form_is_refused_at_once(content_type: str) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    with pytest.raises(InvalidInput) as refusal:
        Form(content_type, nothing())
    assert refusal.value.field == "Content-Type"


@pytest.mark.parametrize("late", [False, True])
async def test_fields_are_limited_before_and_after_the_file(late: bool) -> None:
    most = [(f"f{n}", "x") for n in range(MAX_FIELDS)]
    body = form(b"hello", *([], most) if late else (most, []))
    assert len((await received(body))[3]) == MAX_FIELDS
    more = [*most, ("one-more", "x")]
    with pytest.raises(InvalidInput):
        await received(form(b"hello", *([], more) if late else (more, [])))
    with pytest.raises(InvalidInput):
        await received(form(b"hello", [("long", "x" * 5000)]))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"text/plain", "text/plain"),
        (b"text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        (b"application/vnd.a+json", "application/vnd.a+json"),
        (b"text", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (b"text/\x7fhtml", "application/octet-stream"),
        ("text/평문".encode(), "application/octet-stream"),
    ],
)
async def test_an_invalid_media_type_is_not_kept(given: bytes, kept: str) -> None:
    body = form(b"x").replace(b"text/plain", given).replace(b".txt", b".xyz")
    assert (await received(body))[1] == kept


@pytest.mark.parametrize("ending", TYPES)
@pytest.mark.parametrize("given", [b"", b"application/octet-stream"])
async def test_a_file_of_no_known_type_has_the_type_of_its_ending(ending: str, given: bytes) -> None:
    body = form(b"x").replace(b"text/plain", given).replace(b".txt", ending.upper().encode())
    assert (await received(body))[1] == TYPES[ending]
    said = form(b"x").replace(b"text/plain", b"text/x-own").replace(b".txt", ending.encode())
    assert (await received(said))[1] == "text/x-own"
