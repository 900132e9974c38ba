"""A summons survives its journey, and anything else is refused."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.messages import Summons
from schemas.topics import Lane, topic_name

summons = st.builds(
    Summons,
    job_id=st.uuids(),
    kind=st.text(),
    stage=st.text(),
    epoch=st.integers(0, 2**31 - 1),
    lane=st.sampled_from(Lane),
    traceparent=st.none() | st.text(),
)


@given(summons)
def test_a_summons_comes_back_as_it_was_sent(sent: Summons) -> None:
    assert Summons.model_validate_json(sent.model_dump_json(exclude_none=True)) == sent
    assert Summons.model_validate_json(sent.model_dump_json()) == sent


def test_fields_of_a_newer_sender_are_passed_over() -> None:
    body = Summons(job_id=uuid4(), kind="noop", stage="run", epoch=0, lane=Lane.BULK).model_dump(mode="json")
    assert Summons.model_validate(body | {"tenant": "x"}) == Summons.model_validate(body)


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"job_id": "x"}, {"epoch": "many"}, {"lane": "fast"}, {"kind": None}]
)
def test_what_is_no_summons_is_refused(change: dict[str, object]) -> None:
    body = Summons(job_id=uuid4(), kind="noop", stage="run", epoch=0, lane=Lane.BULK).model_dump(mode="json")
    with pytest.raises(ValidationError):
        Summons.model_validate(body | change)


def test_a_topic_is_named_for_kind_stage_and_lane() -> None:
    assert topic_name("indexing", "plan", Lane.BULK) == "welip.indexing.plan.bulk"
