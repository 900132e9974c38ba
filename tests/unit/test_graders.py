"""Graders: what they score, what an expression may do, and what it may not."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from consumers.scoring.given import Given
from consumers.scoring.graders import _FUNCTIONS, grades
from schemas.kinds.evaluation.graders import FUNCTIONS, MAX_EXPRESSION_CHARS, Grader
from schemas.kinds.evaluation.items import Item

GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)
ITEM = Item(id="a", row=1, question="높이는?", references=["1,947미터", "1947 m"], relevant=["d1"])
GIVEN = Given(succeeded=True, text="높이는 1,947미터이다. [1]", documents=["d1", "d2"])


def grade(given: Given = GIVEN, item: Item = ITEM, **grader: Any) -> float | None:
    return grades([GRADER.validate_python({"name": "own", **grader})], item, given, ["본문"])["own"]


def value(expression: str, **changes: Any) -> float | None:
    return grade(type="expression", expression=expression, **changes)


@pytest.mark.parametrize(
    ("operation", "reference", "score"),
    [
        ("eq", "높이는 1,947미터이다.", 1),
        ("eq", "높이는", 0),
        ("ne", "높이는", 1),
        ("like", "{{item.reference}}", 1),
        ("like", "ABC", 0),
        ("ilike", "높이는 {{item.reference}}", 1),
    ],
)
def test_a_string_check_compares_filled_templates(operation: str, reference: str, score: float) -> None:
    assert grade(type="string_check", operation=operation, reference=reference) == score


def test_a_place_within_a_text_is_not_filled() -> None:
    item = ITEM.model_copy(update={"question": "{{item.reference}}"})
    assert grade(item=item, type="string_check", operation="eq", input="{{item.question}}", reference="1,947미터") == 0


def test_similarity_is_that_of_the_metric() -> None:
    same = {"type": "text_similarity", "reference": "높이는 1,947미터이다."}
    for name in ("bleu", "chrf", "f1_char", "rouge_l"):
        assert grade(evaluation_metric=name, **same) == pytest.approx(1)
        assert grade(Given(succeeded=True, text=""), evaluation_metric=name, **same) == 0


@pytest.mark.parametrize(
    ("expression", "score"),
    [
        ("True", 1),
        ("0.25", 0.25),
        ("7", 1),
        ("-1", 0),
        ("len(answer) < 100 and contains(answer, reference)", 1),
        ("'d1' in documents", 1),
        ("documents[0] == relevant[0] and documents[1] not in relevant", 1),
        ("1 / (1 + len(words(answer)))", 1 / 3),
        ("0 if found else 1", 0),
        ("not startswith(answer, '높이')", 0),
        ("equal(answer, '높이는 1947미터이다') or is_json(answer)", 1),
        ("1 < 2 < 3", 1),
        ("max(f1_char(answer, references[0]), 0)", 12 / 17),
        ("len(contexts) == 1 and normalised('A  B!') == lower('A B')", 1),
    ],
)
def test_an_expression_is_a_truth_or_a_share(expression: str, score: float) -> None:
    assert value(expression) == pytest.approx(score)


@pytest.mark.parametrize(
    "expression", ["1 / 0", "references[9]", "answer < 1", "answer + answer", "len(1)", "reference"]
)
def test_an_expression_that_fails_on_an_answer_is_a_missing_score(expression: str) -> None:
    assert value(expression) is None


def test_an_answer_that_is_missing_has_no_grade_and_an_honest_not_found_is_empty() -> None:
    assert value("True", given=Given(succeeded=False)) is None
    assert value("answer == ''", given=Given(succeeded=True, text="없음", found=False)) == 1


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("answer.__class__", "may not use Attribute"),
        ("().__class__.__bases__", "may not use Attribute"),
        ("[x for x in answer]", "may not use ListComp"),
        ("(lambda: 1)()", "may call"),
        ("open('/etc/passwd')", "may call"),
        ("__import__('os')", "may call"),
        ("len", "has no value|may call|missing"),
        ("2 ** 99999", "may not use Pow"),
        ("'a' 'b' % 3", "may not use Mod"),
        ("f'{answer}'", "may not use JoinedStr"),
        ("answer[0:2]", "may not use Slice"),
        ("len(answer, key=1)", "without keywords"),
        ("secret", "there is no 'secret'"),
        ("b'x'", "may not hold"),
        ("1 +", "not a Python expression"),
        ("(" * 500 + ")" * 500, "not a Python expression"),
        ("x := 1", "not a Python expression"),
    ],
)
def test_what_an_expression_may_not_do_is_refused_at_submission(expression: str, said: str) -> None:
    if expression == "len":  # a function is no value: it fails on every answer instead
        assert value(expression) is None
        return
    with pytest.raises(ValidationError, match=said):
        GRADER.validate_python({"type": "expression", "name": "own", "expression": expression})


def test_no_expression_grows_beyond_its_texts() -> None:
    assert value("'a' * 1000000000") is None
    assert value("[1] * 1000000000") is None
    assert value("*".join(["9e300"] * 100)) == 1
    assert MAX_EXPRESSION_CHARS <= 1_000


def test_a_deep_expression_is_a_missing_score_or_a_value() -> None:
    assert value("not " * 200 + "True") == 1
    assert value("-" * 900 + "1") in (None, 1)


def test_every_function_that_may_be_called_exists() -> None:
    assert set(_FUNCTIONS) == FUNCTIONS


@pytest.mark.parametrize("name", ["f1", "recall@5", "Own", "a b", ""])
def test_a_grader_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ValidationError):
        GRADER.validate_python({"type": "expression", "name": name, "expression": "True"})
