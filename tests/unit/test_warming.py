"""A warm-up says what it waits for, again and again, and that it is over only when it succeeded."""

import time

import pytest
import structlog

from infra.engines.warming import warming


def told(entries: list[object]) -> list[tuple[object, object]]:
    return [(entry["event"], entry.get("reason")) for entry in entries]  # type: ignore[index]


def test_each_step_is_told_and_then_again_until_it_is_over() -> None:
    with structlog.testing.capture_logs() as entries, warming("m", "vllm", tells_every_s=0.01) as now:
        now.waits_for("weights")
        deadline = time.monotonic() + 60
        while len(entries) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        now.waits_for("first_token")
    found = told(list(entries))
    assert found[:3] == [("engine.warming", "weights")] * 3
    assert ("engine.warming", "first_token") in found
    assert found[-1] == ("engine.ready", None)
    assert entries[0]["model"] == "m"
    assert entries[2]["for_s"] >= 0


def start_without_weights() -> None:
    with warming("m", "vllm") as now:
        now.waits_for("weights")
        raise ValueError("no weights")


def test_what_failed_to_warm_up_is_not_ready() -> None:
    with structlog.testing.capture_logs() as entries, pytest.raises(ValueError, match="no weights"):
        start_without_weights()
    assert told(list(entries)) == [("engine.warming", "weights")]
