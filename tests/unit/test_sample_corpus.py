"""The sample corpus is what its docstrings promise, and its known answers can be found."""

from collections import Counter
from typing import Any

import pytest

from infra.local import sample
from schemas.kinds.indexing import IndexingInput
from schemas.kinds.inference import InferenceInput

BY_ID: dict[str, dict[str, Any]] = {document["id"]: document for document in sample.documents()}
ANSWERABLE = [question for question in sample.questions() if question["document_id"] is not None]
UNANSWERABLE = [question for question in sample.questions() if question["document_id"] is None]


def test_every_document_can_be_submitted_as_it_is() -> None:
    job = IndexingInput.model_validate({"collection": "sample", "documents": sample.documents()})
    assert len(job.documents) == len(BY_ID) >= 36


def test_documents_differ_in_title_and_text() -> None:
    assert len({document["title"] for document in BY_ID.values()}) == len(BY_ID)
    assert len({document["text"] for document in BY_ID.values()}) == len(BY_ID)


@pytest.mark.parametrize("document", BY_ID.values(), ids=BY_ID)
def test_a_document_is_a_page_of_korean(document: dict[str, Any]) -> None:
    text = document["text"]
    hangul = sum("가" <= character <= "힣" for character in text)
    assert 400 <= len(text) <= 900
    assert hangul / len(text) > 0.6
    assert text == text.strip()
    assert document["metadata"]["topic"]


def test_every_topic_holds_documents_to_tell_apart() -> None:
    topics = Counter(document["metadata"]["topic"] for document in BY_ID.values())
    assert len(topics) >= 8
    assert min(topics.values()) >= 2


def test_questions_are_many_and_differ() -> None:
    assert len(ANSWERABLE) >= 24
    assert len(UNANSWERABLE) == 4
    assert len({question["id"] for question in sample.questions()}) == len(sample.questions())
    assert len({question["question"] for question in sample.questions()}) == len(sample.questions())


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question["id"])
def test_the_known_answer_is_in_its_document(question: dict[str, Any]) -> None:
    assert question["answer"] in BY_ID[question["document_id"]]["text"]
    assert question["answer"] not in question["question"]


@pytest.mark.parametrize("question", UNANSWERABLE, ids=lambda question: question["id"])
def test_an_unanswerable_question_names_no_answer(question: dict[str, Any]) -> None:
    assert question["answer"] is None


@pytest.mark.parametrize("question", sample.questions(), ids=lambda question: question["id"])
def test_every_question_can_be_asked_as_it_is(question: dict[str, Any]) -> None:
    InferenceInput.model_validate({"collection": "sample", "question": question["question"]})


def test_the_english_questions_are_answered_by_their_documents() -> None:
    documents, questions = sample.english()
    texts = {document["id"]: document["text"] for document in documents}
    IndexingInput.model_validate({"collection": "sample", "documents": documents})
    assert all(question["answer"] in texts[question["document_id"]] for question in questions)
    assert {question["document_id"] for question in questions} == texts.keys()
