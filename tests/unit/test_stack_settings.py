"""What `welip up` tells its processes."""

from pathlib import Path

import pytest

from infra.local.stack import Stack, StackOptions


def elsewhere(data: Path, port: int | None = None) -> Stack:
    """A stack all of whose parts are named, so that none is started."""
    return Stack(StackOptions(data=data, port=port, postgres="postgresql://h/d", kafka="h:1", s3="s3+http://h:9000/b"))


@pytest.mark.parametrize("port", [None, 18_081])
def test_its_gateway_listens_where_it_says(tmp_path: Path, port: int | None) -> None:
    stack = elsewhere(tmp_path, port)
    told = int(stack._environment()["WELIP_GATEWAY_PORT"])
    assert stack.url == f"http://127.0.0.1:{told}"
    assert told == (port or told)


@pytest.mark.parametrize(("given", "told"), [(None, "0.5"), ("0.02", "0.02")])
def test_its_relays_look_seldom_unless_somebody_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, told: str
) -> None:
    monkeypatch.delenv("WELIP_RELAY_POLL", raising=False)
    if given is not None:
        monkeypatch.setenv("WELIP_RELAY_POLL", given)
    stack = elsewhere(tmp_path)
    assert stack._environment()["WELIP_RELAY_POLL"] == told
