"""Fetch messages of Kafka are written and read as aiokafka does it."""

from io import BytesIO
from typing import Any

from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from hypothesis import given
from hypothesis import strategies as st

from infra.kafka.fetching import AnsweredTopics, AskedTopics, quicken_fetches

quicken_fetches()

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
NAME = st.text(max_size=30)
ASKED = st.lists(st.tuples(NAME, st.lists(st.tuples(INT32, INT32, INT64, INT64, INT32), max_size=4)), max_size=4)
PARTITION = st.tuples(
    INT32,
    st.sampled_from([0, 0, 1, 3]),
    INT64,
    INT64,
    INT64,
    st.none() | st.lists(st.tuples(INT64, INT64), max_size=3),
    INT32,
    st.none() | st.binary(max_size=40),
)
ANSWERED = st.lists(st.tuples(NAME, st.lists(PARTITION, max_size=4)), max_size=4)


def field(message: Any) -> Any:
    return dict(zip(message.SCHEMA.names, message.SCHEMA.fields, strict=True))["topics"]


def test_aiokafka_uses_these_fields() -> None:
    assert isinstance(field(FetchRequest_v11), AskedTopics)
    assert isinstance(field(FetchResponse_v11), AnsweredTopics)


@given(ASKED)
def test_a_request_is_read_by_aiokafka_as_it_was_written(topics: list[Any]) -> None:
    request = FetchRequest_v11(-1, 500, 1, 2**20, 0, 0, -1, topics, [], "")
    read = FetchRequest_v11.decode(request.encode())
    assert (read.topics, read.forgotten_topics_data, read.rack_id) == (topics, [], "")


@given(ANSWERED, st.binary(max_size=8))
def test_an_answer_is_read_as_aiokafka_wrote_it_without_what_brings_nothing(topics: list[Any], more: bytes) -> None:
    data = BytesIO(FetchResponse_v11(0, 0, 7, topics).encode() + more)
    read = FetchResponse_v11.decode(data)
    telling = [(name, [one for one in partitions if one[1] or one[-1]]) for name, partitions in topics]
    assert read.topics == [(name, partitions) for name, partitions in telling if partitions]
    assert data.read() == more
