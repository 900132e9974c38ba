"""The demo's judgement of its answers, and its last line."""

import pytest

from producers.client.demo import Asked, summarise
from producers.client.models import Answer

QUESTION = {"id": "q", "question": "한라산의 높이는?", "document_id": "hallasan", "answer": "1,947미터"}
UNANSWERABLE = {"id": "u", "question": "명왕성은?", "document_id": None, "answer": None}


def asked(
    question: dict[str, str | None], *, found: bool = True, text: str = "", cited: dict[str, str] | None = None
) -> Asked:
    citations = [
        {"document_id": document, "chunk_id": "c", "text": passage, "score": 1.0, "start": 0, "end": 1}
        for document, passage in (cited or {}).items()
    ]
    answer = {"answer": text, "found": found, "citations": citations, "model": "extractive", "job": "job_1"}
    return Asked(question, Answer.model_validate(answer), 12.34)


@pytest.mark.parametrize(
    ("one", "right"),
    [
        (asked(QUESTION, text="높이는 1,947미터이다.", cited={"hallasan": "높이"}), True),
        (asked(QUESTION, text="높다.", cited={"hallasan": "높이는 1,947미터이다."}), True),
        (asked(QUESTION, text="높다.", cited={"hallasan": "높다."}), False),
        (asked(QUESTION, text="1,947미터", cited={"jirisan": "1,947미터", "hallasan": "1,947미터"}), False),
        (asked(QUESTION, found=False, text="1,947미터", cited={"hallasan": "1,947미터"}), False),
        (asked(QUESTION, text="1,947미터"), False),
        (asked(UNANSWERABLE, found=False), True),
        (asked(UNANSWERABLE, text="2006년", cited={"hallasan": "2006년"}), False),
    ],
)
def test_an_answer_is_right_only_with_its_document_first_and_the_known_words_in_it(one: Asked, right: bool) -> None:
    assert one.right is right


def test_the_last_line_counts_only_questions_that_a_document_answers() -> None:
    good = asked(QUESTION, text="1,947미터", cited={"hallasan": "높이"})
    wrong = asked(QUESTION, found=False)
    assert summarise(44, 88, [good, wrong, asked(UNANSWERABLE, found=False)]) == {
        "documents": 44,
        "chunks": 88,
        "questions": 2,
        "answered": 1,
        "p50_ms": 12.3,
    }
