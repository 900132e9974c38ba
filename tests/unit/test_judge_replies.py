"""What is read out of a judge's reply, and the form that it is asked for."""

from typing import Literal

import jsonschema_rs
import pytest
from pydantic import BaseModel, Field

from consumers.stages.replies import UnreadableReply, read, strict_schema


class Verdict(BaseModel):
    title: str = ""
    verdict: Literal[0, 1] = Field(description="1: yes")


class Verdicts(BaseModel):
    statements: list[Verdict]


@pytest.mark.parametrize(
    "text",
    [
        '{"verdict": 1}',
        ' \n{"title": "가", "verdict": 1}\n',
        '```json\n{"verdict": 1}\n```',
        'Here it is:\n```\n{"verdict": 1}\n```\nDone.',
        'I think {it holds}: {"verdict": 1}',
        'Example {"verdict": 7} is wrong, so {"verdict": 1}.',
        '{"verdict": 1} and that is all',
    ],
)
def test_json_is_found_wherever_it_stands(text: str) -> None:
    assert read(Verdict, text).verdict == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON object"),
        ("yes", "no JSON object"),
        ("<html>busy</html>", "no JSON object"),
        ('{"verdict": ', "no JSON object"),
        ('{"verdict": 3}', "verdict"),
        ("[1, 2]", "the object"),
        ("{" * 100_000, "no JSON object"),
        ("[" * 100_000, "no JSON object"),
    ],
)
def test_a_reply_without_the_form_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(UnreadableReply, match=said):
        read(Verdict, text)


def test_the_schema_is_what_strict_modes_accept_and_still_describes_the_form() -> None:
    schema = strict_schema(Verdicts)
    inner = schema["$defs"]["Verdict"]
    assert inner["required"] == ["title", "verdict"], "a member may be called `title`"
    assert inner["additionalProperties"] is schema["additionalProperties"] is False
    assert "default" not in str(schema)
    jsonschema_rs.meta.validate(schema)
    checker = jsonschema_rs.validator_for(schema)
    assert checker.is_valid({"statements": [{"title": "", "verdict": 1}]})
    assert not checker.is_valid({"statements": [{"verdict": 1, "more": 1}]})
