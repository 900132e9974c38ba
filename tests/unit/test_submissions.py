"""What a submission leaves out has its kind's default, both in the model and in the OpenAPI document."""

from dataclasses import replace

import pytest

from schemas.jobs import Submission, _submission_of
from schemas.kinds.noop import NoopInput
from schemas.kinds.registry import KINDS
from schemas.topics import Lane


def test_the_defaults_are_the_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    heavy = replace(KINDS["noop"], name="heavy", lane=Lane.BULK, max_attempts=2, timeout_s=60.0)
    monkeypatch.setitem(KINDS, "heavy", heavy)  # type: ignore[arg-type]
    model = _submission_of(heavy)
    for made in (model.model_validate({"kind": "heavy", "input": {}}), Submission(kind="heavy", input=NoopInput())):
        assert (made.lane, made.max_attempts, made.timeout_s) == (Lane.BULK, 2, 60.0)
    shown = model.model_json_schema()["properties"]
    assert [shown[name]["default"] for name in ("lane", "max_attempts", "timeout_s")] == ["bulk", 2, 60.0]
    assert (shown["max_attempts"]["minimum"], shown["max_attempts"]["maximum"]) == (1, 25)
    chosen = model.model_validate({"kind": "heavy", "input": {}, "lane": "interactive", "timeout_s": None})
    assert (chosen.lane, chosen.timeout_s) == (Lane.INTERACTIVE, None)
