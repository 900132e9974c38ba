"""A document of nothing but headings keeps a bounded number of them."""

import pytest

from infra.documents import draft
from infra.documents.draft import HEADINGS_CHARS, MAX_HEADINGS, Draft


def test_the_first_headings_of_the_highest_levels_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MAX_HEADINGS", 3)
    made = Draft(10_000)
    for level, text in ((2, "둘째"), (1, "첫째"), (2, "셋째"), (3, "넷째"), (1, "다섯째")):
        made.add(text, level=level)
    document = made.finished()
    assert [heading.text for heading in document.headings] == ["둘째", "첫째", "다섯째"]
    assert document.text.split() == ["둘째", "첫째", "셋째", "넷째", "다섯째"]


@pytest.mark.parametrize(("words", "kept"), [("가", MAX_HEADINGS), ("가" * 200, HEADINGS_CHARS // 200)])
def test_more_headings_than_anybody_reads_are_text(words: str, kept: int) -> None:
    made = Draft(10_000_000)
    for _ in range(MAX_HEADINGS + 1_000):
        made.add(words, level=1)
    assert len(made.finished().headings) == kept
