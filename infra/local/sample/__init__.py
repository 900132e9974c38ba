"""A small Korean corpus with known answers, written for WeLIP: what `make demo` indexes and what tests ask."""

import json
from importlib import resources
from typing import Any


def documents() -> list[dict[str, Any]]:
    """The documents, ready to be submitted: `id`, `title`, `text` (400 to 900 characters), `metadata.topic`."""
    return _lines("documents.jsonl")


def questions() -> list[dict[str, Any]]:
    """The questions: `id`, `question`, `document_id`, and `answer`, which appears literally in that document's text.

    `document_id` and `answer` are None if no document answers.
    """
    return _lines("questions.jsonl")


def english() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A few documents and questions in English, in the same form: for models that hardly speak Korean."""
    return _lines("english.jsonl"), _lines("english_questions.jsonl")


def _lines(name: str) -> list[dict[str, Any]]:
    text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]
