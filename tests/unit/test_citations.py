"""Citations are read in every form that models write, renumbered, and told apart from code."""

import pytest

from consumers.stages.inference.citations import cited


@pytest.mark.parametrize(
    ("written", "read", "order"),
    [
        ("높다 [1].", "높다 [1].", [0]),
        ("높다[3].", "높다[1].", [2]),
        ("높다 [2]. 넓다 [3, 2].", "높다 [1]. 넓다 [2][1].", [1, 2]),
        ("높다 [1-2].", "높다 [1][2].", [0, 1]),
        ("높다 [1–3].", "높다 [1][2][3].", [0, 1, 2]),
        ("높다 [1~2, 4].", "높다 [1][2][3].", [0, 1, 3]),
        ("높다【1】.", "높다[1].", [0]),
        ("높다 【2†L3-L5】.", "높다 [1].", [1]),
        ("높다［１］.", "높다[1].", [0]),
        ("높다 [１，２].", "높다 [1][2].", [0, 1]),
        ("높다 [자료 2].", "높다 [1].", [1]),
        ("It is high [passage 2] [^1].", "It is high [1] [2].", [1, 0]),
        ("높다 [2][1].", "높다 [1][2].", [1, 0]),
        ("The palace[2] stands.", "The palace[1] stands.", [1]),
    ],
)
def test_every_form_is_a_citation(written: str, read: str, order: list[int]) -> None:
    found = cited(written, 4)
    assert (found.text, found.order, found.dropped) == (read, order, 0)


@pytest.mark.parametrize(
    ("written", "read", "dropped"),
    [
        ("높다 [9].", "높다.", 1),
        ("높다 [0].", "높다.", 1),
        ("높다 [1][7][8].", "높다 [1].", 2),
        ("높다 [1-6].", "높다 [1][2][3][4].", 2),
        ("높다 【12】.", "높다.", 1),
    ],
)
def test_citations_of_unknown_passages_are_dropped_and_counted(written: str, read: str, dropped: int) -> None:
    found = cited(written, 4)
    assert (found.text, found.dropped) == (read, dropped)


@pytest.mark.parametrize(
    "code",
    [
        "`items[0]`과 `items[1]`을 더한다",
        "```python\nx = items[1] + [2]\n```\n위를 보라",
        "items[0]과 items[1]을 더한다",
        "rows_by_id[2]를 읽는다",
        "The value x[1] = 3 is set.",
        "Call args[1].name for it.",
        "값은 [0, 1] 사이이다",
        "표 [2024]와 【별표】를 보라",
        "a list[int] of [x]",
    ],
)
def test_code_and_numbers_of_other_kinds_stay_as_they_are(code: str) -> None:
    found = cited(f"{code} [2].", 4)
    assert (found.text, found.order, found.dropped) == (f"{code} [1].", [1], 0)
