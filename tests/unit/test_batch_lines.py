"""A line of a batch is a request, or it is refused with a code and the field at fault."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batches.lines import EVERY_ENDPOINT, MAX_LINE_BYTES, MAX_LINES, read_line
from schemas.batches.window import window
from schemas.errors import InvalidInput
from schemas.kinds.batch import BatchInput, Endpoint
from schemas.kinds.generation import GenerationInput
from schemas.kinds.noop import NoopInput
from schemas.kinds.registry import KINDS, submittable
from schemas.models import WITHOUT_MODELS, Models, OpenAIModel

MODELS = Models((OpenAIModel(name="m", engine="openai", url="http://h"), *WITHOUT_MODELS))
NOOP = {"kind": "noop", "input": {}}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "안녕"}]}


def line(url: str = "/v1/jobs", **changes: Any) -> bytes:
    whole = {"custom_id": "a", "method": "POST", "url": url, "body": NOOP, **changes}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def refused(text: bytes, endpoint: str = "/v1/jobs") -> tuple[str, str | None]:
    with pytest.raises(InvalidInput) as caught:
        read_line(text, endpoint, MODELS)
    caught.value.message.encode()  # as when it is stored
    return caught.value.reason, caught.value.field


def test_a_line_is_a_job_of_any_kind_with_its_own_limits() -> None:
    body = {"kind": "noop", "input": {"steps": 2}, "max_attempts": 1, "timeout_s": 9, "lane": "bulk"}
    found = read_line(line(custom_id="질문 1", body=body), "/v1/jobs", MODELS)
    assert (found.custom_id, found.kind, found.input) == ("질문 1", "noop", NoopInput(steps=2))
    assert (found.max_attempts, found.timeout_s) == (1, 9)


def test_a_line_is_a_request_for_a_model() -> None:
    found = read_line(line("/v1/chat/completions", body=CHAT), "/v1/chat/completions", MODELS)
    assert found.kind == "generation"
    assert isinstance(found.input, GenerationInput)
    assert (found.input.model, found.input.messages[0].content) == ("m", "안녕")


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        (b"{", "invalid_json_line", None),
        (b"\xff\xfe", "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b'{"custom_id": NaN}', "invalid_json_line", None),
        (line(custom_id=...), "missing_custom_id", "custom_id"),
        (line(custom_id=""), "invalid_custom_id", "custom_id"),
        (line(custom_id=7), "invalid_custom_id", "custom_id"),
        (line(custom_id="a" * 201), "invalid_custom_id", "custom_id"),
        (line(custom_id="a\nb"), "invalid_custom_id", "custom_id"),
        (line(method="GET"), "invalid_method", "method"),
        (line(method=...), "invalid_method", "method"),
        (line(url="/v1/embeddings"), "invalid_url", "url"),
        (line(url=...), "invalid_url", "url"),
        (line(body=...), "missing_body", "body"),
        (line(body="x"), "missing_body", "body"),
        (line(extra=1), "unknown_field", "extra"),
        (line(body={"kind": "dance", "input": {}}), "invalid_line", "body"),
        (line(body={"kind": "batch", "input": {"input_file_id": f"file_{'0' * 32}", "endpoint": "/v1/jobs"}}),
         "kind_not_allowed", "body.kind"),
        (line(body={"kind": "noop", "input": {"steps": 0}}), "invalid_line", "body.input.steps"),
        (line(body={"kind": "noop", "input": {"steps": "5"}}), "invalid_line", "body.input.steps"),
        (line(body={**NOOP, "webhook": {"url": "https://x"}}), "invalid_line", "body.webhook"),
        (line(body={**NOOP, "metadata": {}}), "invalid_line", "body.metadata"),
        (line(body={**NOOP, "expires_in_s": 5}), "invalid_line", "body.expires_in_s"),
        (line(body={**NOOP, "lane": "interactive"}), "invalid_line", "body.lane"),
        (line(body={"kind": "generation", "input": {**CHAT, "model": "x"}}), "model_not_found", "body.input.model"),
        (b" " * (MAX_LINE_BYTES + 1), "line_too_long", None),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_its_field(text: bytes, code: str, field: str | None) -> None:
    assert refused(text) == (code, field)


def test_a_model_that_is_not_there_is_named_as_the_request_names_it() -> None:
    text = line("/v1/chat/completions", body={**CHAT, "model": "gpt-9"})
    assert refused(text, "/v1/chat/completions") == ("model_not_found", "body.model")


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_break_the_reader(text: bytes) -> None:
    refused(text)


NAMES = st.sampled_from(["messages", "input", "text", "tools", "role", "content", "type"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda one: st.lists(one, max_size=3) | st.dictionaries(NAMES, one)))
def test_no_body_breaks_the_reader(value: Any) -> None:
    for endpoint in EVERY_ENDPOINT:
        for body in (value, {"input": value, "kind": "noop"}, {"messages": value, "tools": value, "text": value}):
            try:
                read_line(line(endpoint, body=body), endpoint, MODELS)
            except InvalidInput as error:
                assert error.field is None or error.field.startswith("body")  # noqa: PT017 - most are refused


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)])
def test_a_window_is_any_duration(text: str, seconds: int) -> None:
    assert window(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "24", "h", "0s", "31d", "1w", "-5m", "1.5h", "24h ", "٣d", "24H"])
def test_another_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1s to 30d"):
        window(text)
    with pytest.raises(ValueError, match="completion_window"):
        BatchInput(input_file_id=f"file_{'0' * 32}", endpoint="/v1/jobs", completion_window=text)


def test_every_endpoint_can_be_asked_for() -> None:
    assert set(Endpoint.__args__) == set(EVERY_ENDPOINT)  # type: ignore[attr-defined]
    assert MAX_LINES == 50_000


def test_every_kind_that_may_be_submitted_may_be_a_line_but_a_batch() -> None:
    assert KINDS["batch"].children == {kind.name for kind in submittable()} - {"batch"}
