"""Tokens that vLLM's process holds back: they come later, in their order, and none is lost or doubled."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.engines.vllm_groups import Groups


@dataclass
class Output:
    """What the groups need of vLLM's `EngineCoreOutput`."""

    request_id: str
    new_token_ids: list[int]
    finish_reason: str | None = None
    prefill_stats: Any = None
    new_logprobs: Any = None
    new_prompt_logprobs_tensors: Any = None
    events: list[Any] | None = field(default=None)


def sent(groups: Groups, *outputs: Output, read_along: bool = False) -> list[list[int]]:
    found = [groups.of(output, read_along=read_along) for output in outputs]
    return [one.new_token_ids for one in found if one is not None]


def test_tokens_come_in_groups_and_the_rest_with_the_end() -> None:
    groups = Groups(3)
    tokens = [Output("a", [token]) for token in range(7)]
    assert sent(groups, *tokens) == [[0, 1, 2], [3, 4, 5]]
    assert sent(groups, Output("a", [7], finish_reason="length")) == [[6, 7]]
    assert not groups


def test_several_tokens_of_a_step_and_several_requests_do_not_mix() -> None:
    groups = Groups(3)
    assert sent(groups, Output("a", [1, 2]), Output("b", [7]), Output("a", [3, 4]), Output("b", [8, 9])) == [
        [1, 2, 3, 4],
        [7, 8, 9],
    ]
    assert not groups


def test_an_end_without_a_token_brings_what_was_held() -> None:
    groups = Groups(3)
    assert sent(groups, Output("a", [1]), Output("a", [], finish_reason="error")) == [[1]]


def test_nothing_is_held_of_a_text_that_is_read_along() -> None:
    groups = Groups(3)
    assert sent(groups, Output("a", [1]), Output("a", [2]), read_along=True) == [[1], [2]]
    assert not groups


@pytest.mark.parametrize("more", ["prefill_stats", "new_logprobs", "new_prompt_logprobs_tensors", "events"])
def test_what_tells_more_than_tokens_is_never_held(more: str) -> None:
    groups = Groups(3)
    assert sent(groups, Output("a", [1]), Output("a", [2], **{more: [object()]})) == [[1, 2]]
    assert not groups


def test_nothing_is_kept_of_a_request_that_was_aborted() -> None:
    groups = Groups(3)
    assert sent(groups, Output("a", [1])) == []
    groups.drop("a")
    groups.drop("another")
    assert not groups
    assert sent(groups, Output("a", [5], finish_reason="stop")) == [[5]]
