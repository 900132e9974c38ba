"""OpenAI's own client from PyPI against `/v1/files`: what works there works here."""

import os
from collections.abc import Iterator
from uuid import uuid4

import openai
import pytest

from tests.e2e.processes import Up

LINE = b'{"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": {}}\n'
MISSING = f"file_{uuid4().hex}"


@pytest.fixture(scope="module")
def official(up: Up) -> Iterator[openai.OpenAI]:
    """The client with no settings but the address and a key."""
    with openai.OpenAI(base_url=f"{up.url}/v1", api_key="any", max_retries=2) as client:
        yield client


def test_a_file_goes_there_and_back(official: openai.OpenAI) -> None:
    content = os.urandom(300_000)
    made = official.files.create(file=("시험.bin", content), purpose="user_data")
    assert (made.object, made.filename, made.purpose, made.bytes) == ("file", "시험.bin", "user_data", 300_000)
    assert (made.status, made.expires_at) == ("processed", None)
    assert isinstance(made.created_at, int)
    assert official.files.retrieve(made.id) == made
    assert official.files.content(made.id).read() == content
    gone = official.files.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "file", True)
    with pytest.raises(openai.NotFoundError) as caught:
        official.files.retrieve(made.id)
    assert (caught.value.code, caught.value.param) == ("file_not_found", "id")


def test_expiry_is_the_callers_or_that_of_the_purpose(official: openai.OpenAI) -> None:
    hour = official.files.create(
        file=("a.txt", b"a"), purpose="evals", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert hour.expires_at == hour.created_at + 3600
    batch = official.files.create(file=("b.jsonl", LINE), purpose="batch")
    assert batch.expires_at == batch.created_at + 30 * 24 * 3600


def test_lists_are_walked_page_by_page_in_either_order(official: openai.OpenAI) -> None:
    made = [official.files.create(file=(f"{n}.txt", b"x"), purpose="vision").id for n in range(5)]
    for order in ("asc", "desc"):
        page = official.files.list(purpose="vision", limit=2, order=order)  # type: ignore[arg-type]
        assert (len(page.data), page.has_more) == (2, True)
        walked = [file.id for file in page]
        assert walked == (made if order == "asc" else made[::-1])
    assert official.files.list(purpose="vision", after=made[0]).data == []
    assert made[-1] in [file.id for file in official.files.list()]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"purpose": "novels"}, "purpose"),
        ({"purpose": "evals", "expires_after": {"anchor": "created_at", "seconds": 3599}}, "expires_after[seconds]"),
        ({"purpose": "evals", "expires_after": {"anchor": "created_at", "seconds": 2592001}}, "expires_after[seconds]"),
        ({"purpose": "evals", "expires_after": {"anchor": "now", "seconds": 3600}}, "expires_after[anchor]"),
    ],
)
def test_a_refusal_says_why_and_of_what(official: openai.OpenAI, asked: dict[str, object], param: str) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        official.files.create(file=("a.txt", b"a"), **asked)  # type: ignore[arg-type]
    assert (caught.value.type, caught.value.code, caught.value.param) == (
        "invalid_request_error",
        "invalid_input",
        param,
    )
    assert caught.value.message.startswith("Error code: 422 - ")


@pytest.mark.parametrize("limit", [0, 10_001])
def test_a_limit_outside_of_the_contract_is_refused(official: openai.OpenAI, limit: int) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        official.files.list(limit=limit)
    assert caught.value.param == "limit"


def test_what_is_not_there_is_not_asked_for_again(official: openai.OpenAI) -> None:
    for call in (official.files.retrieve, official.files.content, official.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(MISSING)
        assert caught.value.code == "file_not_found"
