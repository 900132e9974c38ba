"""Texts that clients read while they are written: nothing twice, nothing missing, and retractions are reported."""

from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from producers.client.errors import StreamRestarted, WaitTimeout
from producers.client.events import Event, StateEvent, StreamEvent, TokenEvent
from producers.client.text import AsyncTextStream, StreamedText
from tests.unit.scripted_transport import ID, Caller, Script, call, job, no_backoff, ok, script, sse, stream

__all__ = ["call", "no_backoff", "script"]

AT = "2026-11-20T00:00:00Z"
BEGIN = "<begin>"
END = "<end>"


def events(*told: str) -> list[Event]:
    """A text's events: `BEGIN`, pieces, and `END`."""
    made: list[Event] = []
    for number, piece in enumerate(told, 1):
        base = {"id": number, "job": ID, "at": AT}
        match piece:
            case "<begin>":
                made.append(StreamEvent(**base, type="stream", data={"attempt": 1}))
            case "<end>":
                made.append(StateEvent(**base, type="state", data={"state": "succeeded"}))
            case _:
                made.append(TokenEvent(**base, type="token", data={"text": piece, "index": 0}))
    return made


def read(*told: str, on_restart: Callable[[], None] | None = None) -> tuple[list[str], str]:
    text = StreamedText(ID, on_restart)
    return [piece for event in events(*told) if (piece := text.read(event))], text.text


def test_pieces_are_given_as_they_come() -> None:
    assert read(BEGIN, "한라", "산", END) == (["한라", "산"], "한라산")


@pytest.mark.parametrize(
    "again",
    [
        ["한라산은", " 높다"],
        ["한", "라산", "은 높다"],
        ["한라", BEGIN, "한", BEGIN, "한라산은 높다"],  # it begins again before it has caught up
    ],
)
def test_the_same_text_again_is_given_from_where_it_goes_on(again: Sequence[str]) -> None:
    given, text = read(BEGIN, "한라", "산", BEGIN, *again, END)
    assert "".join(given) == text == "한라산은 높다"


@pytest.mark.parametrize("again", [["한국의", " 산"], ["한", "국의 산"], ["한"]])
def test_another_text_is_reported_to_begin_again(again: Sequence[str]) -> None:
    told: list[str] = []
    given, text = read(BEGIN, "한라", BEGIN, *again, END, on_restart=lambda: told.append("again"))
    assert told == ["again"]
    assert text == "".join(again)
    assert "".join(given) == f"한라{text}"
    with pytest.raises(StreamRestarted, match="began again"):
        read(BEGIN, "한라", BEGIN, *again, END)


def test_a_job_that_failed_before_its_text_caught_up_takes_nothing_back() -> None:
    text = StreamedText(ID, None)
    told = [
        *events(BEGIN, "한라", BEGIN, "한"),
        StateEvent(id=9, job=ID, at=AT, type="state", data={"state": "failed"}),
    ]
    assert [text.read(event) for event in told] == ["", "한라", "", "", ""]


async def pieces(call: Caller, **options: Any) -> tuple[list[str], Any]:
    read = call.client.stream(ID, **options)
    return ([piece async for piece in read] if isinstance(read, AsyncTextStream) else list(read)), read


async def test_a_stream_goes_on_over_a_broken_connection_and_ends_with_the_job(call: Caller, script: Script) -> None:
    script.answers = [
        stream(sse(1, "stream", attempt=1), sse(2, "token", text="한라", index=0), httpx.ReadError("cut")),
        stream(
            sse(2, "token", text="한라", index=0),
            sse(3, "token", text="산", index=1),
            sse(4, "state", state="succeeded"),
        ),
        ok(job("succeeded")),
    ]
    given, read = await pieces(call)
    assert given == ["한라", "산"]
    assert (read.text, read.job.state) == ("한라산", "succeeded")
    assert script.sent[1].headers["last-event-id"] == "2"
    assert "on_disconnect" not in script.sent[0].url.params


async def test_a_reader_whose_time_is_over_is_told_that_the_job_goes_on(call: Caller, script: Script) -> None:
    script.answers = [ok(job("running"))]
    with pytest.raises(WaitTimeout, match="still running"):
        await pieces(call, timeout=0)
    with pytest.raises(ValueError, match="one of the two"):
        call.client.stream(ID, timeout=1, on_disconnect="cancel")


async def test_a_reader_may_ask_that_its_leaving_cancels_the_job(call: Caller, script: Script) -> None:
    script.answers = [stream(sse(1, "token", text="한", index=0), sse(2, "token", text="라", index=1))]
    read = call.client.stream(ID, on_disconnect="cancel")
    if isinstance(read, AsyncTextStream):
        async with read:
            assert await anext(read) == "한"
    else:
        with read:
            assert next(read) == "한"
    assert dict(script.sent[0].url.params) == {"on_disconnect": "cancel"}
