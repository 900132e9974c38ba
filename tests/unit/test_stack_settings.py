"""What `welip up` tells its processes."""

from pathlib import Path

import pytest

from infra.local.stack import Stack, StackOptions


@pytest.mark.parametrize(("given", "told"), [(None, "0.5"), ("0.02", "0.02")])
def test_its_relays_look_seldom_unless_somebody_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, told: str
) -> None:
    monkeypatch.delenv("WELIP_RELAY_POLL", raising=False)
    if given is not None:
        monkeypatch.setenv("WELIP_RELAY_POLL", given)
    stack = Stack(StackOptions(data=tmp_path, postgres="postgresql://h/d", kafka="h:1", s3="s3+http://h:9000/b"))
    assert stack._environment()["WELIP_RELAY_POLL"] == told
