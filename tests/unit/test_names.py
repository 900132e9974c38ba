"""Names come from Macs, from Korean offices and with emoji: each is accepted and kept in one Unicode form."""

import unicodedata

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.filters import parse_filter
from schemas.jobs import MetadataKey, MetadataValue
from schemas.kinds.indexing import Corpus, Document
from schemas.names import DocumentId, printable

KOREAN = "인사 규정집"
APART = unicodedata.normalize("NFD", KOREAN)


@pytest.mark.parametrize(
    "name",
    [
        "보고서\u00a0최종.pdf",
        "화면 기록 오후\u202f3.15.20.pdf",
        "전각\u3000빈칸.hwp",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 가족",
        "\U0001fae8.png",
        "\u2764\ufe0f",
        "\U0001f3f4\U000e0067\U000e0062\U000e007f",
    ],
)
def test_what_people_write_is_printable(name: str) -> None:
    assert printable(name) == name
    assert TypeAdapter(MetadataValue).validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["a\nb", "a\x00", "\x1b[2J", "\x85", "\u2028", "a\u202egnp.exe", "\u2066", "\ufffe", "\ud800"]
)
def test_what_breaks_or_reorders_a_line_is_not(name: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        printable(name)


def test_names_and_values_have_one_form() -> None:
    assert TypeAdapter(DocumentId).validate_python(APART) == KOREAN
    assert TypeAdapter(MetadataKey).validate_python(APART) == KOREAN
    document = Document.model_validate({"id": APART, "text": "글", "title": APART, "metadata": {APART: APART, "수": 3}})
    assert (document.id, document.title, document.metadata) == (KOREAN, KOREAN, {KOREAN: KOREAN, "수": 3})
    corpus = Corpus.model_validate({"file": "file_" + "0" * 32, "format": "csv", "text": APART, "metadata": [APART]})
    assert (corpus.text, corpus.metadata) == (KOREAN, [KOREAN])


def test_a_filter_finds_what_a_document_holds() -> None:
    assert parse_filter({APART: [APART]}) == parse_filter({KOREAN: [KOREAN]})
    assert parse_filter({APART: {"ne": APART}}) == parse_filter({KOREAN: {"ne": KOREAN}})


def test_a_long_name_is_measured_as_it_is_kept() -> None:
    assert TypeAdapter(DocumentId).validate_python(unicodedata.normalize("NFD", "각" * 200)) == "각" * 200
    with pytest.raises(ValidationError):
        TypeAdapter(DocumentId).validate_python("각" * 201)
