"""Answers that are read while they are written, through the whole stack and without a model."""

import subprocess
import sys

import pytest

from producers.client.async_ import AsyncClient
from producers.client.sync import Client
from schemas.lifecycle import JobState
from tests.e2e.processes import Up

QUESTION = "한라산의 높이는 얼마인가요?"
TEXT = "한라산은 제주도에 있는 산이다. 한라산의 높이는 1,947미터이다."


@pytest.fixture
def indexed(client: Client, collection: str) -> str:
    [job] = client.index_documents(collection, [{"id": "d1", "title": "한라산", "text": TEXT}])
    assert client.wait(job.id, timeout=120).state is JobState.SUCCEEDED
    return collection


async def test_the_streamed_answer_is_the_answer(client: Client, up: Up, indexed: str) -> None:
    asked = {"collection": indexed, "question": QUESTION, "generate": {"stream": True}}
    job = client.submit("inference", asked)
    stream = client.stream(job.id, timeout=120)
    text = "".join(stream)
    assert stream.job is not None
    answer = client.answer(stream.job)
    assert text == stream.text == answer.answer
    assert "1,947" in text
    assert [citation.streamed_as for citation in answer.citations] == list(range(1, len(answer.citations) + 1))
    async with AsyncClient(up.url) as other:  # after the end, from the beginning
        again = other.stream(job.id)
        assert "".join([piece async for piece in again]) == text


def test_an_answer_that_nobody_asked_to_stream_is_not(client: Client, indexed: str) -> None:
    job = client.submit("inference", {"collection": indexed, "question": QUESTION})
    stream = client.stream(job.id, timeout=120)
    assert list(stream) == []
    assert stream.job is not None
    assert stream.job.state is JobState.SUCCEEDED


def test_the_command_line_prints_it_as_it_comes(up: Up, indexed: str) -> None:
    command = [
        sys.executable,
        "-m",
        "producers.client.cli",
        "--url",
        up.url,
        "ask",
        QUESTION,
        "-c",
        indexed,
        "--stream",
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "1,947미터" in printed
    assert "Sources · extractive" in printed
